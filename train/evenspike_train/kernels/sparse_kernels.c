/* The convolution kernels of sparse_kernels.py for compilers with vector extensions.
 *
 * Values are bfloat16.  A 32-bit lane holds two neighbours: the even one is reached by a
 * shift, the odd one by a mask, so one load feeds two multiply-adds.  The accumulators of
 * a run of images stay in registers over all weights of a filter, which is what a Python
 * compiler could not be talked into.
 *
 * Inputs that are spikes may come as a bit for each image, a sixteenth of the memory: the bits
 * are the mask of an addition, which needs AVX-512.  Every sum is taken in the same order, so that a
 * convolution of spikes has the same bits either way.
 */
#include <omp.h>
#include <stdint.h>
#include <stdlib.h>
#ifdef __AVX512BW__
#include <immintrin.h>
#endif

#ifndef ALLOCATE /* of whole cache lines; the tests put one that has no memory in its place */
#define ALLOCATE(size) aligned_alloc(64, ((size) + 63) / 64 * 64)
#endif

typedef float v16f __attribute__((vector_size(64)));
typedef uint32_t v16u __attribute__((vector_size(64)));
typedef v16u v16u_loose __attribute__((aligned(2), may_alias));

static inline v16f low(v16u pair) { return (v16f)(pair << 16); }
static inline v16f high(v16u pair) { return (v16f)(pair & 0xFFFF0000u); }

/* float32 -> bfloat16, half to even, left in the upper half of each lane. */
static inline v16u rounded(v16f value) {
  v16u bits = (v16u)value;
  return (bits + 0x7FFFu + ((bits >> 16) & 1u)) & 0xFFFF0000u;
}

#define RUN(NAME, VECTORS)                                                              \
  static inline void NAME(const uint16_t *x, const int64_t *source, const float *factor, \
                          int64_t count, float bias, uint16_t *out) {                   \
    v16f even[VECTORS], odd[VECTORS];                                                   \
    _Pragma("GCC unroll 4") for (int j = 0; j < VECTORS; j++)                           \
        even[j] = odd[j] = (v16f){0} + bias;                                            \
    for (int64_t k = 0; k < count; k++) {                                               \
      const v16u_loose *from = (const v16u_loose *)(x + source[k]);                     \
      const v16f weight = (v16f){0} + factor[k];                                        \
      _Pragma("GCC unroll 4") for (int j = 0; j < VECTORS; j++) {                       \
        const v16u pair = from[j];                                                      \
        even[j] += weight * low(pair);                                                  \
        odd[j] += weight * high(pair);                                                  \
      }                                                                                 \
    }                                                                                   \
    v16u_loose *to = (v16u_loose *)out;                                                 \
    _Pragma("GCC unroll 4") for (int j = 0; j < VECTORS; j++)                           \
        to[j] = (rounded(even[j]) >> 16) | rounded(odd[j]);                             \
  }
RUN(run128, 4)
RUN(run32, 1)

/* Whether there are kernels for spikes of a bit each. */
int spike_kernels(void) {
#ifdef __AVX512BW__
  return 1;
#else
  return 0;
#endif
}

#ifdef __AVX512BW__
#define SPIKES(NAME, VECTORS)                                                              \
  static inline void NAME(const uint16_t *bits, const int64_t *source, const float *factor, \
                          int64_t count, float bias, uint16_t *out) {                      \
    __m512 sums[VECTORS];                                                                  \
    _Pragma("GCC unroll 8") for (int j = 0; j < VECTORS; j++) sums[j] = _mm512_set1_ps(bias); \
    for (int64_t k = 0; k < count; k++) {                                                  \
      const uint16_t *mask = bits + source[k] / 16;                                        \
      const __m512 weight = _mm512_set1_ps(factor[k]);                                     \
      _Pragma("GCC unroll 8") for (int j = 0; j < VECTORS; j++)                            \
          sums[j] = _mm512_mask_add_ps(sums[j], mask[j], sums[j], weight);                 \
    }                                                                                      \
    _Pragma("GCC unroll 8") for (int j = 0; j < VECTORS; j++)                              \
        _mm256_storeu_si256((__m256i *)(out + 16 * j),                                     \
                            _mm512_cvtepi32_epi16((__m512i)(rounded((v16f)sums[j]) >> 16))); \
  }
SPIKES(spikes128, 8)
SPIKES(spikes32, 2)

/* Sum of a gradient's values [16 * vectors] over the images that spike; two vectors at a time. */
static inline v16f spike_dot(v16f total, const v16f *grad, const uint16_t *mask, int64_t vectors) {
  __m512 one = (__m512)total, two = _mm512_setzero_ps();
  for (int64_t j = 0; j < vectors; j += 2) {
    one = _mm512_mask_add_ps(one, mask[j], one, (__m512)grad[j]);
    two = _mm512_mask_add_ps(two, mask[j + 1], two, (__m512)grad[j + 1]);
  }
  return (v16f)(one + two);
}

static inline v16f widened(const uint16_t *values) {
  return (v16f)_mm512_slli_epi32(
      _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)values)), 16);
}
#endif

/* Bits of spikes: x holds 0 or 1 in bfloat16, `count` of them, a multiple of 32. */
void pack_spikes(const uint16_t *x, int64_t count, uint32_t *bits) {
#pragma omp parallel for schedule(static)
  for (int64_t at = 0; at < count / 32; at++) {
#ifdef __AVX512BW__
    const __m512i values = _mm512_loadu_si512(x + at * 32);
    bits[at] = _mm512_test_epi16_mask(values, values);
#else
    uint32_t found = 0;
    for (int i = 0; i < 32; i++) found |= (uint32_t)(x[at * 32 + i] != 0) << i;
    bits[at] = found;
#endif
  }
}

/* `convolve` or, where the bits of spikes are given in place of x, `convolve_spikes`. */
static int convolve_any(const uint16_t *x, const uint16_t *bits, int64_t images, int64_t height, int64_t width, int64_t channels,
              int64_t filters, const int64_t *start, const int64_t *channel, const int64_t *dy, const int64_t *dx,
              const float *value, const float *bias, uint16_t *out) {
  int failed = 0;
  int64_t most = 0;
  for (int64_t f = 0; f < filters; f++)
    if (start[f + 1] - start[f] > most) most = start[f + 1] - start[f];
#pragma omp parallel
  {
    int64_t *source = ALLOCATE((size_t)(most + 1) * sizeof *source);
    float *factor = ALLOCATE((size_t)(most + 1) * sizeof *factor);
    const int ready = source && factor;
    if (!ready) {
#pragma omp atomic write
      failed = 1;
    }
#pragma omp for schedule(dynamic, 1)
    for (int64_t block = 0; block < (height * width + 3) / 4; block++) {
      if (!ready) continue; /* all threads have to come to the loop */
      for (int64_t at = block * 4; at < block * 4 + 4 && at < height * width; at++) {
        const int64_t row = at / width, column = at % width;
        for (int64_t f = 0; f < filters; f++) {
          int64_t count = 0;
          for (int64_t k = start[f]; k < start[f + 1]; k++) {
            const int64_t y = row + dy[k], z = column + dx[k];
            if (y < 0 || y >= height || z < 0 || z >= width) continue;
            source[count] = ((y * width + z) * channels + channel[k]) * images;
            factor[count++] = value[k];
          }
          uint16_t *target = out + (at * filters + f) * images;
          int64_t n = 0;
#ifdef __AVX512BW__
          for (; bits && n + 128 <= images; n += 128)
            spikes128(bits + n / 16, source, factor, count, bias[f], target + n);
          for (; bits && n + 32 <= images; n += 32)
            spikes32(bits + n / 16, source, factor, count, bias[f], target + n);
#endif
          for (; n + 128 <= images; n += 128)
            run128(x + n, source, factor, count, bias[f], target + n);
          for (; n + 32 <= images; n += 32)
            run32(x + n, source, factor, count, bias[f], target + n);
        }
      }
    }
    free(source);
    free(factor);
  }
  return failed;
}

/* Arguments as in sparse_kernels.convolve; images must be a multiple of 32. Returns 1, and nothing of
 * use in `out`, if a thread has no memory for what it keeps; else 0. */
int convolve(const uint16_t *x, int64_t images, int64_t height, int64_t width, int64_t channels,
             int64_t filters, const int64_t *start, const int64_t *channel, const int64_t *dy,
             const int64_t *dx, const float *value, const float *bias, uint16_t *out) {
  return convolve_any(x, 0, images, height, width, channels, filters, start, channel, dy, dx, value,
                      bias, out);
}

/* The same for spikes of a bit each, where there are kernels for them. */
int convolve_spikes(const uint32_t *bits, int64_t images, int64_t height, int64_t width,
                    int64_t channels, int64_t filters, const int64_t *start,
                    const int64_t *channel, const int64_t *dy, const int64_t *dx,
                    const float *value, const float *bias, uint16_t *out) {
  return convolve_any(0, (const uint16_t *)bits, images, height, width, channels, filters, start,
                      channel, dy, dx, value, bias, out);
}

static inline v16f dot_step(v16f total, v16u a, v16u b) {
#ifdef __AVX512BF16__
  return (v16f)_mm512_dpbf16_ps((__m512)total, (__m512bh)a, (__m512bh)b);
#else
  return total + low(a) * low(b) + high(a) * high(b);
#endif
}

static inline v16f dot(v16f total, const uint16_t *a, const uint16_t *b, int64_t vectors) {
  const v16u_loose *p = (const v16u_loose *)a, *q = (const v16u_loose *)b;
  for (int64_t j = 0; j < vectors; j++) total = dot_step(total, p[j], q[j]);
  return total;
}

/* `weight_gradient` or, where the bits of spikes are given in place of x, that of spikes.
 * Each thread walks over positions and keeps 16 partial sums for every weight. */
static int weight_gradient_any(const uint16_t *x, const uint16_t *bits, const uint16_t *grad, int64_t images, int64_t height,
                     int64_t width, int64_t channels, int64_t filters, const int64_t *start,
                     const int64_t *channel, const int64_t *dy, const int64_t *dx, float *out,
                     float *bias_grad) {
  const int64_t weights = start[filters], vectors = images / 32;
  int failed = 0;
  for (int64_t k = 0; k < weights; k++) out[k] = 0;
  for (int64_t f = 0; f < filters; f++) bias_grad[f] = 0;
#pragma omp parallel
  {
    v16f *sums = ALLOCATE((size_t)(weights + filters + 2 * vectors) * sizeof(v16f));
    v16f *bias_sums = sums ? sums + weights : sums;
#ifdef __AVX512BW__
    v16f *wide = sums ? bias_sums + filters : sums; /* a gradient's values in order */
#endif
    if (sums) {
      for (int64_t k = 0; k < weights + filters; k++) sums[k] = (v16f){0};
    } else {
#pragma omp atomic write
      failed = 1;
    }
#pragma omp for schedule(static)
    for (int64_t at = 0; at < height * width; at++) {
      if (!sums) continue;
      const int64_t row = at / width, column = at % width;
      for (int64_t f = 0; f < filters; f++) {
        const uint16_t *g = grad + (at * filters + f) * images;
        const v16u_loose *p = (const v16u_loose *)g;
        for (int64_t j = 0; j < vectors; j++) bias_sums[f] += low(p[j]) + high(p[j]);
#ifdef __AVX512BW__
        for (int64_t j = 0; bits && j < 2 * vectors; j++) wide[j] = widened(g + 16 * j);
#endif
        for (int64_t k = start[f]; k < start[f + 1]; k++) {
          const int64_t y = row + dy[k], z = column + dx[k];
          if (y < 0 || y >= height || z < 0 || z >= width) continue;
#ifdef __AVX512BW__
          if (bits) {
            const int64_t at_bits = ((y * width + z) * channels + channel[k]) * images / 16;
            sums[k] = vectors == 4 ? spike_dot(sums[k], wide, bits + at_bits, 8)
                                   : spike_dot(sums[k], wide, bits + at_bits, 2 * vectors);
            continue;
          }
#endif
          const uint16_t *from = x + ((y * width + z) * channels + channel[k]) * images;
          sums[k] = vectors == 4 ? dot(sums[k], g, from, 4) : dot(sums[k], g, from, vectors);
        }
      }
    }
    /* One thread after the other, by number: in the order in which they finish, the last bits of
     * a sum would differ from run to run. */
#pragma omp for ordered schedule(static, 1)
    for (int thread = 0; thread < omp_get_num_threads(); thread++) {
#pragma omp ordered
      if (sums) {
        for (int64_t k = 0; k < weights; k++)
          for (int i = 0; i < 16; i++) out[k] += sums[k][i];
        for (int64_t f = 0; f < filters; f++)
          for (int i = 0; i < 16; i++) bias_grad[f] += bias_sums[f][i];
      }
    }
    free(sums);
  }
  return failed;
}

/* Arguments as in sparse_kernels.weight_gradient; images must be a multiple of 32. Returns as
 * convolve. */
int weight_gradient(const uint16_t *x, const uint16_t *grad, int64_t images, int64_t height,
                    int64_t width, int64_t channels, int64_t filters, const int64_t *start,
                    const int64_t *channel, const int64_t *dy, const int64_t *dx, float *out,
                    float *bias_grad) {
  return weight_gradient_any(x, 0, grad, images, height, width, channels, filters, start, channel,
                             dy, dx, out, bias_grad);
}

/* The same for spikes of a bit each, where there are kernels for them. */
int weight_gradient_spikes(const uint32_t *bits, const uint16_t *grad, int64_t images,
                           int64_t height, int64_t width, int64_t channels, int64_t filters,
                           const int64_t *start, const int64_t *channel, const int64_t *dy,
                           const int64_t *dx, float *out, float *bias_grad) {
  return weight_gradient_any(0, (const uint16_t *)bits, grad, images, height, width, channels,
                             filters, start, channel, dy, dx, out, bias_grad);
}
