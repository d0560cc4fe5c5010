/* Products of quantized activations and int8 weights, 32 rows by 32 columns at a time: with AMX if the compiler's
   options have it, else with AVX512-VNNI. */

#ifndef PRODUCTS_H
#define PRODUCTS_H

#include "rows.h"

#define INLINE inline __attribute__((always_inline)) /* so that constant arguments are built in */

enum { PANEL = 32 }; /* columns of a weight that are stored together */

/* A linear layer. Its weight is stored in panels of 32 output columns: for each 64 inputs two tiles of 16 columns each;
   a tile has 16 rows of 4 inputs x 16 columns. `inputs` is a multiple of 64 (added inputs have weights of 0), and
   `outputs` is a multiple of 32. */
typedef struct {
    const int8_t* weights;
    const int32_t* offsets; /* 128 x the sum of each column, which the activations' zero point of 128 adds */
    const float *scales, *bias;
    int32_t inputs, outputs;
} Dense;

/* Quantized rows: tiles, and the scale of each row. */
typedef struct {
    uint8_t* tiles;
    float* scales;
} Quantized;

/* How a product's rows are stored: in 16 bits, activated and in 16 bits, or in fp32. */
typedef enum { PLAIN, ACTIVATED, EXACT } Finish;

typedef struct {
    Finish finish;
    void* to;          /* bf16, or float for EXACT */
    int stride;        /* numbers from one row of `to` to the next */
    const float* gate; /* ACTIVATED: GATE_TERMS terms and the limit */
} Output;

enum { BLOCK = 2 * TILE_ROWS }; /* rows that are multiplied at a time */

typedef int32_t Sums[BLOCK][PANEL];

/* The work that is done while AMX multiplies a block, as the vector units are free then: finishing the rows of the
   block before it, and fetching some weights of a later panel into the cache. */
typedef struct {
    __m512i offsets[2];
    __m512 scales[2], bias[2], gate[GATE_TERMS], limit;
    Output output;
    const int32_t (*sums)[PANEL];
    const float* row_scales;
    size_t place; /* the next row's first number in the output */
    int done, rows;
    const int8_t* soon;
    int lines; /* cache lines to fetch for every two tiles of weights */
} Meanwhile;

static INLINE Meanwhile of_panel(const Dense* dense, int panel, int ahead, int rows, Output output) {
    Meanwhile while_;
    for (int i = 0; i < 2; i++) {
        int at = panel * PANEL + i * LANES;
        while_.offsets[i] = _mm512_loadu_si512(dense->offsets + at);
        while_.scales[i] = _mm512_loadu_ps(dense->scales + at);
        while_.bias[i] = _mm512_loadu_ps(dense->bias + at);
    }
    if (output.finish == ACTIVATED) {
        for (int i = 0; i < GATE_TERMS; i++) while_.gate[i] = _mm512_set1_ps(output.gate[i]);
        while_.limit = _mm512_set1_ps(output.gate[GATE_TERMS]);
    }
    while_.output = output;
    while_.done = while_.rows = 0;
    while_.soon = dense->weights + (size_t)(panel + ahead) * PANEL * dense->inputs;
    /* With few rows, memory is the limit already, and fetching more than the next weights slows it. */
    while_.lines = rows > TILE_ROWS ? PANEL / ((rows + BLOCK - 1) / BLOCK) + 1 : 0;
    return while_;
}

static INLINE void finish_rows(Meanwhile* while_, int most) {
    const Output* output = &while_->output;
    for (; most && while_->done < while_->rows; most--, while_->done++, while_->place += output->stride) {
        __m512 row_scale = _mm512_set1_ps(while_->row_scales[while_->done]);
        for (int i = 0; i < 2; i++) {
            size_t place = while_->place + i * LANES;
            __m512i sum = _mm512_load_si512(while_->sums[while_->done] + i * LANES);
            __m512 exact = _mm512_cvtepi32_ps(_mm512_sub_epi32(sum, while_->offsets[i]));
            __m512 value = _mm512_fmadd_ps(exact, _mm512_mul_ps(while_->scales[i], row_scale), while_->bias[i]);
            if (output->finish == EXACT)
                _mm512_storeu_ps((float*)output->to + place, value);
            else if (output->finish == ACTIVATED)
                store_bf16((bf16*)output->to + place, gated(value, while_->gate, while_->limit));
            else
                store_bf16((bf16*)output->to + place, value);
        }
    }
}

static INLINE void fetch(Meanwhile* while_) {
    for (int i = 0; i < while_->lines; i++, while_->soon += 64) _mm_prefetch((const char*)while_->soon, _MM_HINT_T1);
}

#ifdef __AMX_INT8__

#include <sys/syscall.h>
#include <unistd.h>

/* Ask the system for permission to use AMX; return whether it was given. */
static int cpu_prepare(void) { return !syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */); }

/* Configure eight tiles of 16 rows x 64 bytes for this thread. */
static void tiles_open(void) {
    struct {
        uint8_t palette, start, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } layout = {.palette = 1};
    for (int i = 0; i < 8; i++) layout.bytes[i] = TILE_BYTES, layout.rows[i] = TILE_ROWS;
    _tile_loadconfig(&layout);
}

static void tiles_close(void) { _tile_release(); }

/* out = 16 rows, or 32 if `lower` is not NULL, x one panel. */
static INLINE void multiply(const uint8_t* upper, const uint8_t* lower, int inputs, const int8_t* weights, Sums out,
                            Meanwhile* meanwhile) {
    int steps = inputs / TILE_BYTES, rows_a_step = (BLOCK + steps - 1) / steps;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int i = 0; i < steps; i++, upper += TILE, weights += 2 * TILE) {
        fetch(meanwhile);
        _tile_loadd(4, weights, TILE_BYTES);
        _tile_loadd(5, weights + TILE, TILE_BYTES);
        _tile_loadd(6, upper, TILE_BYTES);
        _tile_dpbusd(0, 6, 4);
        _tile_dpbusd(1, 6, 5);
        if (lower) {
            _tile_loadd(7, lower + i * TILE, TILE_BYTES);
            _tile_dpbusd(2, 7, 4);
            _tile_dpbusd(3, 7, 5);
        }
        finish_rows(meanwhile, rows_a_step);
    }
    _tile_stored(0, out[0], PANEL * 4);
    _tile_stored(1, out[0] + LANES, PANEL * 4);
    _tile_stored(2, out[TILE_ROWS], PANEL * 4);
    _tile_stored(3, out[TILE_ROWS] + LANES, PANEL * 4);
}

#else

static int cpu_prepare(void) { return 1; }
static void tiles_open(void) {}
static void tiles_close(void) {}

enum { VNNI_ROWS = 8 }; /* x 2 vectors of columns: 16 sums, which leave registers for the weights */

static INLINE void multiply_few(const uint8_t* rows, int inputs, const int8_t* weights, int32_t (*out)[PANEL]) {
    __m512i left[VNNI_ROWS], right[VNNI_ROWS];
    for (int row = 0; row < VNNI_ROWS; row++) left[row] = right[row] = _mm512_setzero_si512();
    for (int i = 0; i < inputs / TILE_BYTES; i++, rows += TILE, weights += 2 * TILE)
        for (int four = 0; four < TILE_ROWS; four++) {
            __m512i weights_left = _mm512_loadu_si512(weights + four * TILE_BYTES);
            __m512i weights_right = _mm512_loadu_si512(weights + TILE + four * TILE_BYTES);
            for (int row = 0; row < VNNI_ROWS; row++) {
                int32_t inputs_of_row;
                memcpy(&inputs_of_row, rows + row * TILE_BYTES + four * 4, 4);
                __m512i activations = _mm512_set1_epi32(inputs_of_row);
                left[row] = _mm512_dpbusd_epi32(left[row], activations, weights_left);
                right[row] = _mm512_dpbusd_epi32(right[row], activations, weights_right);
            }
        }
    for (int row = 0; row < VNNI_ROWS; row++) {
        _mm512_store_si512(out[row], left[row]);
        _mm512_store_si512(out[row] + LANES, right[row]);
    }
}

/* out = 16 rows, or 32 if `lower` is not NULL, x one panel. The vector units multiply, so no other work is done. */
static INLINE void multiply(const uint8_t* upper, const uint8_t* lower, int inputs, const int8_t* weights, Sums out,
                            Meanwhile* meanwhile) {
    (void)meanwhile;
    for (int row = 0; row < TILE_ROWS; row += VNNI_ROWS) {
        multiply_few(upper + row * TILE_BYTES, inputs, weights, out + row);
        if (lower) multiply_few(lower + row * TILE_BYTES, inputs, weights, out + TILE_ROWS + row);
    }
}

#endif

/* Write a panel's columns of rows x dense, and fetch the panel that is `ahead` panels further. */
static INLINE void product(const Dense* dense, Quantized rows, int count, int panel, int ahead, Output output) {
    _Alignas(64) Sums sums[2];
    const int8_t* weights = dense->weights + (size_t)panel * PANEL * dense->inputs;
    Meanwhile meanwhile = of_panel(dense, panel, ahead, count, output);
    for (int row = 0, block = 0; row < count; row += BLOCK, block ^= 1) {
        const uint8_t* upper = rows.tiles + (size_t)row * dense->inputs;
        const uint8_t* lower = row + TILE_ROWS < count ? upper + (size_t)TILE_ROWS * dense->inputs : NULL;
        multiply(upper, lower, dense->inputs, weights, sums[block], &meanwhile);
        finish_rows(&meanwhile, BLOCK);
        meanwhile.sums = (const int32_t (*)[PANEL])sums[block];
        meanwhile.row_scales = rows.scales + row;
        meanwhile.place = (size_t)row * output.stride + panel * PANEL;
        meanwhile.done = 0;
        meanwhile.rows = count - row < BLOCK ? count - row : BLOCK;
    }
    finish_rows(&meanwhile, BLOCK);
}

#endif
