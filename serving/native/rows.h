/* Operations on the rows of a matrix between the products: 16-bit numbers, quantization, normalization, the activation,
   softmax, and the largest numbers of a row. The length of a row is always a multiple of 16. */

#ifndef ROWS_H
#define ROWS_H

#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

enum { LANES = 16, TILE_ROWS = 16, TILE_BYTES = 64, TILE = TILE_ROWS * TILE_BYTES };

typedef uint16_t bf16;

static inline __m512 load_bf16(const bf16* from) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void*)from)), 16));
}

static inline __m256i to_bf16(__m512 values) { /* to the nearest, ties to even */
#ifdef __AVX512BF16__
    return (__m256i)_mm512_cvtneps_pbh(values);
#else
    __m512i bits = _mm512_castps_si512(values);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    bits = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(bits, 16));
#endif
}

static inline void store_bf16(bf16* to, __m512 values) { _mm256_storeu_si256((void*)to, to_bf16(values)); }

/* A quantized matrix is stored in tiles of 16 rows x 64 bytes, with the tiles of 16 rows one after the other; `columns`
   is a multiple of 64. Return the row's bytes in its first tile; its bytes in the next tile are TILE further. */
static inline uint8_t* tiled_row(uint8_t* matrix, int columns, int row) {
    return matrix + (size_t)(row / TILE_ROWS) * TILE_ROWS * columns + row % TILE_ROWS * TILE_BYTES;
}

static inline uint8_t* tiled(uint8_t* row, int column) {
    return row + column / TILE_BYTES * TILE + column % TILE_BYTES;
}

static inline float scale_of(__m512 largest) { return _mm512_reduce_max_ps(largest) / 127 + 1e-30f; }

static inline void store_quantized(uint8_t* row, int column, __m512 values, __m512 inverse) {
    __m512i rounded = _mm512_cvtps_epi32(_mm512_mul_ps(values, inverse));
    __m512i shifted = _mm512_add_epi32(rounded, _mm512_set1_epi32(128));
    _mm_storeu_si128((void*)tiled(row, column), _mm512_cvtepi32_epi8(shifted));
}

/* Quantize a row to uint8 around 128 and return its scale. */
static inline float quantize_bf16(const bf16* from, int length, uint8_t* to) {
    __m512 largest = _mm512_setzero_ps();
    for (int i = 0; i < length; i += LANES) largest = _mm512_max_ps(largest, _mm512_abs_ps(load_bf16(from + i)));
    float scale = scale_of(largest);
    __m512 inverse = _mm512_set1_ps(1 / scale);
    for (int i = 0; i < length; i += LANES) store_quantized(to, i, load_bf16(from + i), inverse);
    return scale;
}

static inline void quantize_to(const float* from, int length, float scale, uint8_t* to) {
    __m512 inverse = _mm512_set1_ps(1 / scale);
    for (int i = 0; i < length; i += LANES) store_quantized(to, i, _mm512_loadu_ps(from + i), inverse);
}

static inline float quantize_fp32(const float* from, int length, uint8_t* to) {
    __m512 largest = _mm512_setzero_ps();
    for (int i = 0; i < length; i += LANES) largest = _mm512_max_ps(largest, _mm512_abs_ps(_mm512_loadu_ps(from + i)));
    float scale = scale_of(largest);
    quantize_to(from, length, scale, to);
    return scale;
}

/* Add `added` to the row unless it is NULL, normalize the row to mean 0 and variance 1, apply weight and bias, and
   quantize the result. Return its scale. */
static inline float add_normalize_quantize(float* row, const bf16* added, int length, const float* weight,
                                           const float* bias, float epsilon, uint8_t* to) {
    __m512 sums = _mm512_setzero_ps(), squares = _mm512_setzero_ps(), largest = _mm512_setzero_ps();
    for (int i = 0; i < length; i += LANES) {
        __m512 sum = _mm512_loadu_ps(row + i);
        if (added) sum = _mm512_add_ps(sum, load_bf16(added + i));
        _mm512_storeu_ps(row + i, sum);
        sums = _mm512_add_ps(sums, sum);
        squares = _mm512_fmadd_ps(sum, sum, squares);
    }
    float mean = _mm512_reduce_add_ps(sums) / length;
    float variance = _mm512_reduce_add_ps(squares) / length - mean * mean;
    float deviation = 1 / __builtin_sqrtf((variance > 0 ? variance : 0) + epsilon);
    __m512 factor = _mm512_set1_ps(deviation), shift = _mm512_set1_ps(-mean * deviation);
    for (int i = 0; i < length; i += LANES) {
        __m512 scaled = _mm512_fmadd_ps(_mm512_loadu_ps(row + i), factor, shift);
        scaled = _mm512_fmadd_ps(scaled, _mm512_loadu_ps(weight + i), _mm512_loadu_ps(bias + i));
        _mm512_storeu_ps(row + i, scaled);
        largest = _mm512_max_ps(largest, _mm512_abs_ps(scaled));
    }
    float scale = scale_of(largest);
    quantize_to(row, length, scale, to);
    return scale;
}

enum { GATE_TERMS = 5 };

/* Return x * gate(x), with gate(x) = 1/2 + y * (terms[0] + terms[1] y^2 + ...) and y = x limited to +-limit. GELU has
   this form. */
static inline __m512 gated(__m512 x, const __m512 terms[GATE_TERMS], __m512 limit) {
    __m512 y = _mm512_max_ps(_mm512_min_ps(x, limit), _mm512_sub_ps(_mm512_setzero_ps(), limit));
    __m512 square = _mm512_mul_ps(y, y), sum = terms[GATE_TERMS - 1];
    for (int i = GATE_TERMS - 2; i >= 0; i--) sum = _mm512_fmadd_ps(sum, square, terms[i]);
    return _mm512_mul_ps(x, _mm512_fmadd_ps(sum, y, _mm512_set1_ps(0.5f)));
}

/* Return 2^x with a relative error of about 2e-7, for x above -126: 2^n * 2^f with |f| <= 1/2, and 2^f by its Taylor
   series. */
static inline __m512 power_of_2(__m512 x) {
    __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 part = _mm512_sub_ps(x, whole), sum = _mm512_set1_ps(1.33335581e-3f);
    sum = _mm512_fmadd_ps(sum, part, _mm512_set1_ps(9.61812911e-3f));
    sum = _mm512_fmadd_ps(sum, part, _mm512_set1_ps(5.55041087e-2f));
    sum = _mm512_fmadd_ps(sum, part, _mm512_set1_ps(2.40226507e-1f));
    sum = _mm512_fmadd_ps(sum, part, _mm512_set1_ps(6.93147182e-1f));
    sum = _mm512_fmadd_ps(sum, part, _mm512_set1_ps(1));
    return _mm512_scalef_ps(sum, whole);
}

static inline __mmask16 first(int count) { return (__mmask16)(count >= LANES ? 0xffff : (1u << count) - 1); }

#define LOG2_E 1.44269504f

/* Turn a row of logits into probabilities. */
static inline void softmax(float* row, int length) {
    __m512 largest = _mm512_set1_ps(-INFINITY), sum = _mm512_setzero_ps(), log2_e = _mm512_set1_ps(LOG2_E);
    for (int i = 0; i < length; i += LANES) largest = _mm512_max_ps(largest, _mm512_loadu_ps(row + i));
    largest = _mm512_mul_ps(_mm512_set1_ps(_mm512_reduce_max_ps(largest)), log2_e);
    for (int i = 0; i < length; i += LANES) {
        __m512 value = power_of_2(_mm512_fmsub_ps(_mm512_loadu_ps(row + i), log2_e, largest));
        _mm512_storeu_ps(row + i, value);
        sum = _mm512_add_ps(sum, value);
    }
    __m512 inverse = _mm512_set1_ps(1 / _mm512_reduce_add_ps(sum));
    for (int i = 0; i < length; i += LANES) _mm512_storeu_ps(row + i, _mm512_mul_ps(_mm512_loadu_ps(row + i), inverse));
}

/* Find the k largest numbers of a row, largest first; of equal numbers, the earlier comes first. `length` is at least
 * k. */
static inline void best_of(const float* row, int length, int k, int64_t* tokens, float* scores) {
    int found = 0;
    for (int i = 0; i < length; i += LANES) {
        __m512 least = _mm512_set1_ps(found < k ? -INFINITY : scores[k - 1]);
        __mmask16 better = _mm512_cmp_ps_mask(_mm512_loadu_ps(row + i), least, _CMP_NLE_UQ);
        for (; better; better &= better - 1) {
            int token = i + __builtin_ctz(better), place = found < k ? found : k - 1;
            if (found == k && !(row[token] > scores[k - 1])) continue;
            for (; place && row[token] > scores[place - 1]; place--)
                scores[place] = scores[place - 1], tokens[place] = tokens[place - 1];
            scores[place] = row[token], tokens[place] = token;
            found += found < k;
        }
    }
}

#endif
