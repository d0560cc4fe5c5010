/* BERT's encoder and its masked-words head in int8, for a batch of rows of tokens that are packed without padding.

   Activations are quantized a token at a time, so that a row's answer does not depend on the other rows of the batch.
   The residual stream is fp32, attention is bfloat16. The batch is computed in chunks of whole rows that fit the cache,
   and the last layer computes only what the selected tokens need. */

#include "team.h"

#include <math.h>
#include <string.h>

#include "rows.h"
#include "products.h"
#include "attention.h"

typedef struct {
    const float *weight, *bias;
} Norm;

typedef struct {
    Dense attention, attended, inner, outer; /* attention: query, key and value side by side */
    Norm attended_norm, norm;
} Layer;

typedef struct {
    int32_t hidden, inner, heads, layers, vocabulary; /* vocabulary: 0 if there is no head for masked words */
    float epsilon;
    float gate[GATE_TERMS + 1];
    const float *words, *positions, *segments;
    Norm norm;
    const Layer* layer;
    Dense transform, decoder;
    Norm transform_norm;
} Model;

typedef struct {
    int32_t rows, asked, k;  /* asked: the number of selected tokens; k: candidates for each, or 0 for logits */
    const int32_t* tokens;   /* token ids, row after row */
    const int32_t* segments; /* of each token */
    const int32_t* starts;   /* [rows + 1]: where each row starts among the tokens */
    const int32_t* selected; /* [asked]: ascending indices of the tokens whose output is needed */
    float* hidden;           /* [asked, hidden]: the encoder's output at the selected tokens */
    float* scores;           /* [asked, vocabulary rounded up to 32]: logits, or probabilities for k; NULL: no head */
    int64_t* best;           /* [asked, k]: the best tokens, and their probabilities */
    float* best_scores;
} Batch;

enum { CHUNK_TOKENS = 256, ROWS_A_TASK = 8 };

typedef struct {
    int first_row, rows, first_token, tokens, first_asked, asked, place; /* place: the first token among the tiles */
} Chunk;

typedef struct {
    Team team;
    const Model* model;
    size_t room; /* bytes of `memory` */
    uint8_t* memory;
    const Batch* batch;
    int chunks, longest;
    Chunk* chunk;
    int32_t* asked_starts; /* [rows + 1]: where each row's selected tokens start */
    float* x;
    bf16 *y, *context, *inner;
    Quantized tokens, asked, part, wide; /* the chunk's `part` is [chunk, hidden], `wide` [chunk, inner] */
    uint8_t* scratch;
    size_t scratch_size,
        parts_size; /* of each thread: queries, keys and values of some heads, then attention's scratch */
} Engine;

static void* take(uint8_t** memory, size_t bytes) {
    void* start = *memory;
    *memory += (bytes + 63) / 64 * 64;
    return start;
}

static Quantized take_quantized(uint8_t** memory, int rows, int columns) {
    rows = rounded_up(rows, 2 * TILE_ROWS);
    uint8_t* tiles = take(memory, (size_t)rows * rounded_up(columns, TILE_BYTES));
    return (Quantized){tiles, take(memory, rows * sizeof(float))};
}

static Quantized from_row(Quantized rows, int columns, int row) {
    return (Quantized){rows.tiles + (size_t)row * rounded_up(columns, TILE_BYTES), rows.scales + row};
}

/* Return how many heads fill whole panels; these are computed together. */
static int heads_together(const Model* model) {
    int heads = 1, size = model->hidden / model->heads;
    while (heads * size % PANEL) heads++;
    return heads;
}

/* Place the buffers of a batch in `memory`; return their end. */
static uint8_t* lay_out(Engine* engine, uint8_t* memory, int places, int widest, int most_asked) {
    const Model* model = engine->model;
    const Batch* batch = engine->batch;
    int tokens = batch->starts[batch->rows], hidden = model->hidden;
    if (batch->asked > tokens) tokens = batch->asked; /* the head also puts its rows in x */
    engine->x = take(&memory, (size_t)tokens * hidden * sizeof(float));
    engine->y = take(&memory, (size_t)widest * hidden * sizeof(bf16));
    engine->context = take(&memory, (size_t)widest * hidden * sizeof(bf16));
    engine->inner = take(&memory, (size_t)widest * model->inner * sizeof(bf16));
    engine->tokens = take_quantized(&memory, places, hidden);
    engine->asked = take_quantized(&memory, most_asked > batch->asked ? most_asked : batch->asked, hidden);
    engine->part = take_quantized(&memory, widest, hidden);
    engine->wide = take_quantized(&memory, widest, model->inner);
    int size = hidden / model->heads;
    size_t parts = (size_t)(3 * widest + most_asked) * heads_together(model) * size * sizeof(bf16);
    engine->parts_size = (parts + 63) / 64 * 64;
    engine->scratch_size = engine->parts_size + (attention_scratch(engine->longest, size) + 63) / 64 * 64;
    engine->scratch = take(&memory, engine->scratch_size * engine->team.size);
    return memory;
}

/* Split the batch into chunks and allocate its memory; return 0, or -1 if there is not enough memory. */
static int prepare(Engine* engine, const Batch* batch) {
    int places = 0, widest = 0, most_asked = 0, next = 0;
    engine->batch = batch;
    engine->chunks = engine->longest = 0;
    engine->chunk = malloc(batch->rows * sizeof *engine->chunk);
    engine->asked_starts = malloc((batch->rows + 1) * sizeof *engine->asked_starts);
    if (!engine->chunk || !engine->asked_starts) return -1;
    Chunk* chunk = NULL;
    for (int row = 0; row < batch->rows; row++) {
        int start = batch->starts[row], end = batch->starts[row + 1];
        if (!chunk || chunk->tokens + end - start > CHUNK_TOKENS) {
            if (chunk) places += rounded_up(chunk->tokens, 2 * TILE_ROWS);
            chunk = &engine->chunk[engine->chunks++];
            *chunk = (Chunk){.first_row = row, .first_token = start, .first_asked = next, .place = places};
        }
        engine->asked_starts[row] = next;
        while (next < batch->asked && batch->selected[next] < end) next++;
        chunk->rows++, chunk->tokens += end - start, chunk->asked = next - chunk->first_asked;
        if (end - start > engine->longest) engine->longest = end - start;
        if (chunk->tokens > widest) widest = chunk->tokens;
        if (chunk->asked > most_asked) most_asked = chunk->asked;
        if (most_asked > widest) widest = most_asked; /* a token may be selected more than once */
    }
    engine->asked_starts[batch->rows] = next;
    places += chunk ? rounded_up(chunk->tokens, 2 * TILE_ROWS) : 0;
    size_t need = (size_t)(lay_out(engine, NULL, places, widest, most_asked) - (uint8_t*)NULL);
    if (need > engine->room) {
        free(engine->memory);
        engine->memory = aligned_alloc(64, need);
        engine->room = engine->memory ? need : 0;
        if (!engine->memory) return -1;
    }
    lay_out(engine, engine->memory, places, widest, most_asked);
    return 0;
}

static uint8_t* row_of(Quantized rows, int columns, int row) {
    return tiled_row(rows.tiles, rounded_up(columns, TILE_BYTES), row);
}

static void embed(Engine* engine, const Chunk* chunk, int row_in_chunk) {
    const Model* model = engine->model;
    const Batch* batch = engine->batch;
    int row = chunk->first_row + row_in_chunk, hidden = model->hidden;
    for (int token = batch->starts[row]; token < batch->starts[row + 1]; token++) {
        const float* word = model->words + (size_t)batch->tokens[token] * hidden;
        const float* position = model->positions + (size_t)(token - batch->starts[row]) * hidden;
        const float* segment = model->segments + (size_t)batch->segments[token] * hidden;
        float* x = engine->x + (size_t)token * hidden;
        for (int i = 0; i < hidden; i += LANES)
            _mm512_storeu_ps(x + i,
                             _mm512_add_ps(_mm512_add_ps(_mm512_loadu_ps(word + i), _mm512_loadu_ps(position + i)),
                                           _mm512_loadu_ps(segment + i)));
        int place = chunk->place + token - chunk->first_token;
        engine->tokens.scales[place] = add_normalize_quantize(x, NULL, hidden, model->norm.weight, model->norm.bias,
                                                              model->epsilon, row_of(engine->tokens, hidden, place));
    }
}

/* Compute query, key, value and attention of a group of heads for all rows of a chunk. */
static void attend_task(Engine* engine, const Layer* layer, const Chunk* chunk, int last, int member, int group) {
    const Model* model = engine->model;
    const Batch* batch = engine->batch;
    int hidden = model->hidden, size = hidden / model->heads, width = heads_together(model) * size;
    int stride = 3 * width;
    Quantized tokens = from_row(engine->tokens, hidden, chunk->place);
    bf16* parts = (bf16*)(engine->scratch + engine->scratch_size * member);
    bf16* queries = last ? parts + (size_t)chunk->tokens * stride : parts;
    int query_stride = last ? width : stride;
    for (int part = 0; part < 3; part++)
        for (int i = 0; i < width / PANEL; i++) {
            /* product() adds the column of the panel to the output; `to` corrects for that */
            int panel = (part * hidden + group * width) / PANEL + i, to = part * width - (panel - i) * PANEL;
            int of_asked = last && !part;
            int ahead = (part < 2 ? hidden : engine->team.size * width - 2 * hidden) / PANEL;
            product(&layer->attention, of_asked ? engine->asked : tokens, of_asked ? chunk->asked : chunk->tokens,
                    panel, ahead, (Output){PLAIN, (of_asked ? queries : parts) + to, of_asked ? width : stride, NULL});
        }
    for (int row = chunk->first_row; row < chunk->first_row + chunk->rows; row++) {
        int start = batch->starts[row] - chunk->first_token, length = batch->starts[row + 1] - batch->starts[row];
        int from = last ? engine->asked_starts[row] - chunk->first_asked : start;
        for (int at = 0; at < width; at += size) {
            Head head = {
                .queries = queries + (size_t)from * query_stride + at,
                .keys = parts + (size_t)start * stride + width + at,
                .values = parts + (size_t)start * stride + 2 * width + at,
                .context = engine->context + (size_t)from * hidden + group * width + at,
                .asked = last ? engine->asked_starts[row + 1] - engine->asked_starts[row] : length,
                .tokens = length,
                .query_stride = query_stride,
                .stride = stride,
                .context_stride = hidden,
                .size = size,
            };
            attend(&head, engine->scratch + engine->scratch_size * member + engine->parts_size);
        }
    }
}

/* Add y to x, then normalize and quantize x. */
static void add_and_normalize(Engine* engine, float* x, Norm norm, Quantized to, int count, int task) {
    int hidden = engine->model->hidden;
    for (int row = task * ROWS_A_TASK; row < count && row < (task + 1) * ROWS_A_TASK; row++) {
        size_t at = (size_t)row * hidden;
        to.scales[row] = add_normalize_quantize(x + at, engine->y + at, hidden, norm.weight, norm.bias,
                                                engine->model->epsilon, row_of(to, hidden, row));
    }
}

static void quantize_rows(const bf16* from, int columns, Quantized to, int count, int task) {
    for (int row = task * ROWS_A_TASK; row < count && row < (task + 1) * ROWS_A_TASK; row++)
        to.scales[row] = quantize_bf16(from + (size_t)row * columns, columns, row_of(to, columns, row));
}

/* Copy a selected token of a chunk for the last layer. */
static void gather(Engine* engine, const Chunk* chunk, int index) {
    int hidden = engine->model->hidden, token = engine->batch->selected[chunk->first_asked + index];
    int place = chunk->place + token - chunk->first_token;
    const uint8_t* from = row_of(engine->tokens, hidden, place);
    uint8_t* to = row_of(engine->asked, hidden, index);
    for (int at = 0; at < hidden; at += TILE_BYTES, from += TILE, to += TILE) memcpy(to, from, TILE_BYTES);
    engine->asked.scales[index] = engine->tokens.scales[place];
    memcpy(engine->batch->hidden + (size_t)(chunk->first_asked + index) * hidden, engine->x + (size_t)token * hidden,
           hidden * sizeof(float));
}

static int tasks_of(int rows) { return (rows + ROWS_A_TASK - 1) / ROWS_A_TASK; }

static void run_layer(Engine* engine, const Layer* layer, const Chunk* chunk, int last, int member, uint32_t* phases) {
    const Model* model = engine->model;
    Team* team = &engine->team;
    int hidden = model->hidden, panels = hidden / PANEL, count = last ? chunk->asked : chunk->tokens;
    uint32_t phase = *phases;
    Quantized tokens = from_row(engine->tokens, hidden, chunk->place);
    float* x = last ? engine->batch->hidden + (size_t)chunk->first_asked * hidden
                    : engine->x + (size_t)chunk->first_token * hidden;
    if (!count) return;
    if (last) FOR_EACH_TASK(team, phase, count, task, gather(engine, chunk, task));
    FOR_EACH_TASK(team, phase, model->heads / heads_together(model), group,
                  attend_task(engine, layer, chunk, last, member, group));
    FOR_EACH_TASK(team, phase, tasks_of(count), task,
                  quantize_rows(engine->context, hidden, engine->part, count, task));
    FOR_EACH_TASK(team, phase, panels, panel,
                  product(&layer->attended, engine->part, count, panel, engine->team.size,
                          (Output){PLAIN, engine->y, hidden, NULL}));
    FOR_EACH_TASK(team, phase, tasks_of(count), task,
                  add_and_normalize(engine, x, layer->attended_norm, engine->part, count, task));
    FOR_EACH_TASK(team, phase, model->inner / PANEL, panel,
                  product(&layer->inner, engine->part, count, panel, engine->team.size,
                          (Output){ACTIVATED, engine->inner, model->inner, model->gate}));
    FOR_EACH_TASK(team, phase, tasks_of(count), task,
                  quantize_rows(engine->inner, model->inner, engine->wide, count, task));
    FOR_EACH_TASK(team, phase, panels, panel,
                  product(&layer->outer, engine->wide, count, panel, engine->team.size,
                          (Output){PLAIN, engine->y, hidden, NULL}));
    FOR_EACH_TASK(team, phase, tasks_of(count), task,
                  add_and_normalize(engine, x, layer->norm, last ? engine->part : tokens, count, task));
    *phases = phase;
}

static void run_head(Engine* engine, uint32_t* phases) {
    const Model* model = engine->model;
    const Batch* batch = engine->batch;
    Team* team = &engine->team;
    int hidden = model->hidden, count = batch->asked;
    int vocabulary = rounded_up(model->vocabulary, PANEL);
    uint32_t phase = *phases;
    float* transformed = engine->x; /* the embeddings are no longer needed */
    FOR_EACH_TASK(team, phase, count, task, {
        uint8_t* to = row_of(engine->asked, hidden, task);
        engine->asked.scales[task] = quantize_fp32(batch->hidden + (size_t)task * hidden, hidden, to);
    });
    FOR_EACH_TASK(team, phase, hidden / PANEL, panel,
                  product(&model->transform, engine->asked, count, panel, engine->team.size,
                          (Output){EXACT, transformed, hidden, NULL}));
    FOR_EACH_TASK(team, phase, count, task, {
        float* row = transformed + (size_t)task * hidden;
        __m512 terms[GATE_TERMS];
        for (int i = 0; i < GATE_TERMS; i++) terms[i] = _mm512_set1_ps(model->gate[i]);
        for (int i = 0; i < hidden; i += LANES)
            _mm512_storeu_ps(row + i, gated(_mm512_loadu_ps(row + i), terms, _mm512_set1_ps(model->gate[GATE_TERMS])));
        engine->asked.scales[task] =
            add_normalize_quantize(row, NULL, hidden, model->transform_norm.weight, model->transform_norm.bias,
                                   model->epsilon, row_of(engine->asked, hidden, task));
    });
    FOR_EACH_TASK(team, phase, vocabulary / PANEL, panel,
                  product(&model->decoder, engine->asked, count, panel, engine->team.size,
                          (Output){EXACT, batch->scores, vocabulary, NULL}));
    if (batch->k)
        FOR_EACH_TASK(team, phase, count, task, {
            float* row = batch->scores + (size_t)task * vocabulary;
            softmax(row, vocabulary);
            best_of(row, vocabulary, batch->k, batch->best + (size_t)task * batch->k,
                    batch->best_scores + (size_t)task * batch->k);
        });
    *phases = phase;
}

static void run_member(void* argument, int member) {
    Engine* engine = argument;
    Team* team = &engine->team;
    uint32_t phase = 0;
    tiles_open();
    for (int i = 0; i < engine->chunks; i++) {
        const Chunk* chunk = &engine->chunk[i];
        FOR_EACH_TASK(team, phase, chunk->rows, row, embed(engine, chunk, row));
    }
    for (int layer = 0; layer < engine->model->layers; layer++)
        for (int i = 0; i < engine->chunks; i++)
            run_layer(engine, &engine->model->layer[layer], &engine->chunk[i], layer == engine->model->layers - 1,
                      member, &phase);
    if (engine->batch->scores) run_head(engine, &phase);
    tiles_close();
}

/* Return whether this process may use the instructions that the library was built for. */
int cpu_ready(void) { return cpu_prepare(); }

/* Return an engine with `threads` threads, or NULL if there is not enough memory. The model must outlive the engine. */
Engine* engine_open(const Model* model, int threads) {
    Engine* engine = aligned_alloc(64, rounded_up(sizeof *engine, 64));
    if (!engine) return NULL;
    memset(engine, 0, sizeof *engine);
    engine->model = model;
    if (!team_open(&engine->team, threads, run_member)) return engine;
    free(engine);
    return NULL;
}

/* Run a batch; return 0, or -1 if there is not enough memory. Only one call at a time. */
int engine_run(Engine* engine, const Batch* batch) {
    int status = prepare(engine, batch);
    if (!status && batch->rows) team_run(&engine->team, engine);
    free(engine->chunk), free(engine->asked_starts);
    engine->chunk = NULL, engine->asked_starts = NULL;
    return status;
}

void engine_close(Engine* engine) {
    team_close(&engine->team);
    free(engine->memory);
    free(engine);
}
