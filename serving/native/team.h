/* A team of threads that runs one function in step, phase by phase.

   A phase is a number of independent tasks that threads take one by one. It ends when all tasks are done, not when all
   threads have arrived: a thread that the system has suspended delays the others only by its present task. A thread
   that is late skips the phases that have ended. */

#ifndef TEAM_H
#define TEAM_H

#define _GNU_SOURCE
#include <immintrin.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

enum { SPINS = 1000 }; /* about 50 us of waiting for a phase's last task before the CPU is yielded */

typedef struct {
    int size; /* threads, with the caller's */
    pthread_t* threads;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    void (*function)(void* argument, int member);
    void* argument; /* the job's argument; NULL between jobs */
    uint64_t job;   /* the number of jobs so far */
    int inside;     /* threads that work on the job */
    int closing;
    int named;                            /* threads that have taken their number */
    _Alignas(64) _Atomic uint64_t ticket; /* phase << 32 | next task */
    _Alignas(64) _Atomic uint32_t done;   /* tasks of the phase */
} Team;

/* Return the next task of a phase of `count` tasks, or -1 if none is left. */
static inline int team_take(Team* team, uint32_t phase, uint32_t count) {
    uint64_t ticket = atomic_load_explicit(&team->ticket, memory_order_acquire);
    while ((uint32_t)(ticket >> 32) == phase && (uint32_t)ticket < count)
        if (atomic_compare_exchange_weak_explicit(&team->ticket, &ticket, ticket + 1, memory_order_acq_rel,
                                                  memory_order_acquire))
            return (int)(uint32_t)ticket;
    return -1;
}

/* Count a finished task; the last task of a phase opens the next phase. */
static inline void team_finish(Team* team, uint32_t phase, uint32_t count) {
    if (atomic_fetch_add_explicit(&team->done, 1, memory_order_acq_rel) + 1 == count) {
        atomic_store_explicit(&team->done, 0, memory_order_relaxed);
        atomic_store_explicit(&team->ticket, (uint64_t)(phase + 1) << 32, memory_order_release);
    }
}

static inline void team_wait(Team* team, uint32_t phase) {
    for (int spins = 0; (uint32_t)(atomic_load_explicit(&team->ticket, memory_order_acquire) >> 32) == phase; spins++)
        if (spins < SPINS)
            _mm_pause();
        else
            sched_yield();
}

/* Run `body` for each task of a phase, then wait for the end of the phase. `phase` is the caller's own count of phases;
   all members of the team must run the same phases with the same counts. */
#define FOR_EACH_TASK(team, phase, count, task, body)                       \
    do {                                                                    \
        uint32_t count_ = (uint32_t)(count);                                \
        if (count_) {                                                       \
            for (int task; (task = team_take(team, phase, count_)) >= 0;) { \
                body;                                                       \
                team_finish(team, phase, count_);                           \
            }                                                               \
            team_wait(team, phase);                                         \
            phase++;                                                        \
        }                                                                   \
    } while (0)

static void* team_member(void* argument) {
    Team* team = argument;
    pthread_mutex_lock(&team->lock);
    int member = ++team->named;
    for (uint64_t seen = 0;;) {
        while (!team->closing && (!team->argument || team->job == seen)) pthread_cond_wait(&team->changed, &team->lock);
        if (team->closing) break;
        seen = team->job;
        team->inside++;
        void* job = team->argument;
        pthread_mutex_unlock(&team->lock);
        team->function(job, member);
        pthread_mutex_lock(&team->lock);
        if (!--team->inside) pthread_cond_broadcast(&team->changed);
    }
    pthread_mutex_unlock(&team->lock);
    return NULL;
}

/* Run the function on all threads, with the calling thread as member 0. */
static void team_run(Team* team, void* argument) {
    pthread_mutex_lock(&team->lock);
    team->argument = argument;
    team->job++;
    atomic_store(&team->ticket, 0);
    atomic_store(&team->done, 0);
    pthread_cond_broadcast(&team->changed);
    pthread_mutex_unlock(&team->lock);
    team->function(argument, 0);
    pthread_mutex_lock(&team->lock);
    team->argument = NULL;
    while (team->inside) pthread_cond_wait(&team->changed, &team->lock);
    pthread_mutex_unlock(&team->lock);
}

static void team_close(Team* team) {
    pthread_mutex_lock(&team->lock);
    team->closing = 1;
    pthread_cond_broadcast(&team->changed);
    pthread_mutex_unlock(&team->lock);
    for (int i = 0; i < team->size - 1; i++) pthread_join(team->threads[i], NULL);
    pthread_cond_destroy(&team->changed);
    pthread_mutex_destroy(&team->lock);
    free(team->threads);
}

/* Start a team of `size` threads, or fewer if the system has no more. Return 0, or -1 if there is not enough memory. */
static int team_open(Team* team, int size, void (*function)(void*, int)) {
    team->size = 1;
    team->function = function;
    team->threads = calloc((size_t)size, sizeof *team->threads);
    if (!team->threads) return -1;
    pthread_mutex_init(&team->lock, NULL);
    pthread_cond_init(&team->changed, NULL);
    while (team->size < size && !pthread_create(&team->threads[team->size - 1], NULL, team_member, team)) team->size++;
    return 0;
}

#endif
