/* Attention of one head in one row of tokens: in bfloat16 with AMX if the compiler's options have it, else in fp32. */

#ifndef ATTENTION_H
#define ATTENTION_H

#include "rows.h"

enum { PAIRS = 2, CHUNK = 32 }; /* 16-bit numbers in a lane, and in a row of a tile */

/* One head's part of a row of tokens: `size` numbers a token, and `stride` numbers from a token to the next. */
typedef struct {
    const bf16 *queries, *keys, *values;
    bf16* context;
    int asked, tokens; /* the number of queries; the number of keys and values */
    int query_stride, stride, context_stride, size;
} Head;

static inline int rounded_up(int count, int to) { return (count + to - 1) / to * to; }

/* Return the bytes of scratch for attention to this many tokens. */
static size_t attention_scratch(int tokens, int size) {
    size_t keys = rounded_up(tokens, CHUNK), width = rounded_up(size, CHUNK);
    return 2 * keys * width * sizeof(float) + TILE_ROWS * (keys * sizeof(float) * 2 + width * sizeof(float) * 2) + 4096;
}

/* Set weights[i] = 2^(scores[i] * factor - the largest) for i < tokens, and 0 from there to `end`; return their sum. */
static inline float soften(const float* scores, int tokens, int end, float factor, bf16* weights) {
    int whole = tokens / LANES * LANES;
    __mmask16 rest = first(tokens - whole);
    __m512 largest = _mm512_set1_ps(-INFINITY), sum = _mm512_setzero_ps(), factors = _mm512_set1_ps(factor);
    for (int i = 0; i < whole; i += LANES) largest = _mm512_max_ps(largest, _mm512_loadu_ps(scores + i));
    largest = _mm512_mask_max_ps(largest, rest, largest, _mm512_maskz_loadu_ps(rest, scores + whole));
    largest = _mm512_mul_ps(_mm512_set1_ps(_mm512_reduce_max_ps(largest)), factors);
    for (int i = 0; i < end; i += LANES) {
        __mmask16 real = i < whole ? 0xffff : i == whole ? rest : 0;
        __m512 power = _mm512_fmsub_ps(_mm512_maskz_loadu_ps(real, scores + i), factors, largest);
        __m512 weight = _mm512_maskz_mov_ps(real, power_of_2(power));
        store_bf16(weights + i, weight);
        sum = _mm512_add_ps(sum, weight);
    }
    return _mm512_reduce_add_ps(sum);
}

#ifdef __AMX_BF16__

/* Transpose 16 x 16 numbers of 32 bits. */
static inline void transpose(__m512i r[16]) {
    __m512i t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int i = 0; i < 16; i += 8)
        for (int j = 0; j < 4; j++) {
            t[i + j] = _mm512_shuffle_i32x4(r[i + j], r[i + j + 4], 0x88);
            t[i + j + 4] = _mm512_shuffle_i32x4(r[i + j], r[i + j + 4], 0xdd);
        }
    for (int j = 0; j < 8; j++) {
        r[j] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0x88);
        r[j + 8] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0xdd);
    }
}

static inline __m512i load_chunk(const bf16* from, int count) {
    __mmask32 real = count >= CHUNK ? 0xffffffffu : (1u << count) - 1;
    return _mm512_maskz_loadu_epi16(real, from);
}

/* Pack keys into tiles of 16 pairs of numbers x 16 keys, ordered by 16 keys, then by 32 numbers. */
static void pack_keys(const Head* head, int width, bf16* to) {
    for (int key = 0; key < head->tokens; key += LANES)
        for (int at = 0; at < width; at += CHUNK, to += TILE / 2) {
            __m512i rows[16];
            for (int i = 0; i < 16; i++)
                rows[i] = key + i < head->tokens
                              ? load_chunk(head->keys + (size_t)(key + i) * head->stride + at, head->size - at)
                              : _mm512_setzero_si512();
            transpose(rows);
            for (int i = 0; i < 16; i++) _mm512_store_si512(to + i * CHUNK, rows[i]);
        }
}

/* Pack values into tiles of 16 pairs of tokens x 16 numbers, ordered by 32 tokens, then by 16 numbers. */
static void pack_values(const Head* head, int width, bf16* to) {
    for (int token = 0; token < head->tokens; token += CHUNK)
        for (int at = 0; at < width; at += LANES, to += TILE / 2)
            for (int pair = 0; pair < TILE_ROWS; pair++) {
                int even = token + PAIRS * pair, count = head->size > at ? head->size - at : 0;
                const bf16* from = head->values + (size_t)even * head->stride + at;
                __mmask16 real = first(count);
                __m512i low = even < head->tokens ? _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(real, from))
                                                  : _mm512_setzero_si512();
                __m512i high = even + 1 < head->tokens
                                   ? _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(real, from + head->stride))
                                   : _mm512_setzero_si512();
                _mm512_store_si512(to + pair * CHUNK, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
            }
}

static void attend(const Head* head, uint8_t* scratch) {
    int width = rounded_up(head->size, CHUNK), keys = rounded_up(head->tokens, CHUNK);
    float factor = LOG2_E / __builtin_sqrtf((float)head->size); /* log2(e), as the softmax uses powers of 2 */
    bf16 *packed_keys = (bf16*)scratch, *packed_values = packed_keys + (size_t)keys * width;
    float *scores = (float*)(packed_values + (size_t)keys * width), sums[TILE_ROWS];
    bf16* weights = (bf16*)(scores + (size_t)TILE_ROWS * keys);
    bf16* query = weights + (size_t)TILE_ROWS * keys;
    float* context = (float*)(query + (size_t)TILE_ROWS * width);
    pack_keys(head, width, packed_keys);
    pack_values(head, width, packed_values);
    for (int row = 0; row < head->asked; row += TILE_ROWS) {
        int rows = head->asked - row < TILE_ROWS ? head->asked - row : TILE_ROWS;
        for (int i = 0; i < rows; i++)
            for (int at = 0; at < width; at += CHUNK)
                _mm512_store_si512(
                    query + i * width + at,
                    load_chunk(head->queries + (size_t)(row + i) * head->query_stride + at, head->size - at));
        const bf16* tile = packed_keys;
        for (int key = 0; key < head->tokens; key += LANES) {
            _tile_zero(0);
            for (int at = 0; at < width; at += CHUNK, tile += TILE / 2) {
                _tile_loadd(4, query + at, width * 2);
                _tile_loadd(5, tile, TILE_BYTES);
                _tile_dpbf16ps(0, 4, 5);
            }
            _tile_stored(0, scores + key, keys * 4);
        }
        for (int i = 0; i < rows; i++) {
            size_t at = (size_t)i * keys;
            sums[i] = 1 / soften(scores + at, head->tokens, keys, factor, weights + at);
        }
        for (int at = 0; at < width; at += LANES) {
            _tile_zero(0);
            for (int key = 0; key < keys; key += CHUNK) {
                _tile_loadd(4, weights + key, keys * 2);
                _tile_loadd(5, packed_values + (size_t)key * width + (size_t)at * CHUNK, TILE_BYTES);
                _tile_dpbf16ps(0, 4, 5);
            }
            _tile_stored(0, context + at, width * 4);
        }
        for (int i = 0; i < rows; i++)
            for (int at = 0; at < head->size; at += LANES) {
                __m512 value = _mm512_mul_ps(_mm512_loadu_ps(context + i * width + at), _mm512_set1_ps(sums[i]));
                _mm256_mask_storeu_epi16(head->context + (size_t)(row + i) * head->context_stride + at,
                                         first(head->size - at), to_bf16(value));
            }
    }
}

#else

enum { TOGETHER = 4 }; /* queries that share a load of the keys or values */

static inline void widen(const bf16* from, int count, float* to, size_t stride) {
    for (int i = 0; i < count; i++) {
        uint32_t bits = (uint32_t)from[i] << 16;
        memcpy(to + i * stride, &bits, sizeof bits);
    }
}

/* Set out[query][at] to the sum of left[query][i] * right[i][at] for TOGETHER queries. `columns` and the strides are
   multiples of 16. */
static inline void multiply_fp32(const float* left, int inner, int left_stride, const float* right, int columns,
                                 float* out, int out_stride) {
    for (int at = 0; at < columns; at += LANES) {
        __m512 sums[TOGETHER];
        for (int query = 0; query < TOGETHER; query++) sums[query] = _mm512_setzero_ps();
        for (int i = 0; i < inner; i++) {
            __m512 row = _mm512_loadu_ps(right + (size_t)i * columns + at);
            for (int query = 0; query < TOGETHER; query++)
                sums[query] = _mm512_fmadd_ps(_mm512_set1_ps(left[query * left_stride + i]), row, sums[query]);
        }
        for (int query = 0; query < TOGETHER; query++) _mm512_storeu_ps(out + query * out_stride + at, sums[query]);
    }
}

static void attend(const Head* head, uint8_t* scratch) {
    int width = rounded_up(head->size, LANES), keys = rounded_up(head->tokens, LANES);
    float factor = LOG2_E / __builtin_sqrtf((float)head->size);
    float *by_key = (float*)scratch, *values = by_key + (size_t)keys * head->size;
    float *queries = values + (size_t)head->tokens * width, *scores = queries + TOGETHER * width;
    float *context = scores + (size_t)TOGETHER * keys, sums[TOGETHER];
    bf16* weights = (bf16*)(context + TOGETHER * width);
    memset(by_key, 0, (size_t)keys * head->size * sizeof *by_key);
    memset(values, 0, (size_t)head->tokens * width * sizeof *values);
    for (int token = 0; token < head->tokens; token++) {
        widen(head->keys + (size_t)token * head->stride, head->size, by_key + token, keys);
        widen(head->values + (size_t)token * head->stride, head->size, values + (size_t)token * width, 1);
    }
    for (int row = 0; row < head->asked; row += TOGETHER) {
        int rows = head->asked - row < TOGETHER ? head->asked - row : TOGETHER;
        memset(queries, 0, TOGETHER * width * sizeof *queries);
        for (int i = 0; i < rows; i++)
            widen(head->queries + (size_t)(row + i) * head->query_stride, head->size, queries + i * width, 1);
        multiply_fp32(queries, head->size, width, by_key, keys, scores, keys);
        for (int i = 0; i < rows; i++) {
            sums[i] = 1 / soften(scores + (size_t)i * keys, head->tokens, keys, factor, weights);
            widen(weights, keys, scores + (size_t)i * keys, 1);
        }
        multiply_fp32(scores, head->tokens, keys, values, width, context, width);
        for (int i = 0; i < rows; i++)
            for (int at = 0; at < head->size; at += LANES) {
                __m512 value = _mm512_mul_ps(_mm512_loadu_ps(context + i * width + at), _mm512_set1_ps(sums[i]));
                _mm256_mask_storeu_epi16(head->context + (size_t)(row + i) * head->context_stride + at,
                                         first(head->size - at), to_bf16(value));
            }
    }
}

#endif
#endif
