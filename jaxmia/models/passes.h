// Element-wise passes over images NHWC that lie in the cache, a block of channels at a time.
#pragma once

#include <cstdint>
#include <cstring>

namespace jaxmia {

using Wide = float __attribute__((vector_size(64), aligned(4), may_alias));
using Codes = uint8_t __attribute__((vector_size(16), aligned(1), may_alias));
using Ints = int32_t __attribute__((vector_size(64), aligned(4), may_alias));

template <typename V>
V& At(float* data) { return *reinterpret_cast<V*>(data); }
template <typename V>
const V& At(const float* data) { return *reinterpret_cast<const V*>(data); }

// Calls pass(V{}, c) for each block of channels c: 16 at once, then those that are left.
template <typename Pass>
void OverChannels(int64_t channels, Pass pass) {
  int64_t c = 0;
  for (; c + 16 <= channels; c += 16) pass(Wide{}, c);
  for (; c < channels; ++c) pass(float{}, c);
}

// p = scale * y + shift + more, rectified; what is null is left out. NaN stays NaN.
inline void Activate(int64_t pixels, int64_t channels, const float* y, const float* scale,
                     const float* shift, const float* more, bool rectify, float* p) {
  OverChannels(channels, [=](auto kind, int64_t c) {
    using V = decltype(kind);
    const V a = scale ? At<V>(scale + c) : V{} + 1, b = shift ? At<V>(shift + c) : V{};
    for (int64_t i = c; i < pixels * channels; i += channels) {
      V v = a * At<V>(y + i) + b;
      if (more) v += At<V>(more + i);
      if (rectify) v = v < 0 ? V{} : v;
      At<V>(p + i) = v;
    }
  });
}

// Adds sums and sums of squares over the pixels.
inline void Sums(int64_t pixels, int64_t channels, const float* z, double* sum, double* square) {
  OverChannels(channels, [=](auto kind, int64_t c) {
    using V = decltype(kind);
    V s{}, q{};
    for (int64_t i = c; i < pixels * channels; i += channels) {
      const V v = At<V>(z + i);
      s += v;
      q += v * v;
    }
    float one[16], two[16];
    std::memcpy(one, &s, sizeof(V));
    std::memcpy(two, &q, sizeof(V));
    for (size_t k = 0; k < sizeof(V) / 4; ++k) sum[c + k] += one[k], square[c + k] += two[k];
  });
}

// total = g + one + 2 * two * z: the gradient of z, of its sums and of its squares' sums.
inline void Total(int64_t pixels, int64_t channels, const float* g, const float* one,
                  const float* two, const float* z, float* total) {
  OverChannels(channels, [=](auto kind, int64_t c) {
    using V = decltype(kind);
    const V a = At<V>(one + c), b = 2 * At<V>(two + c);
    for (int64_t i = c; i < pixels * channels; i += channels) {
      At<V>(total + i) = At<V>(g + i) + (a + b * At<V>(z + i));
    }
  });
}

// The gradient before the activation, dq, from that of p and `more` that p got elsewhere; from it
// dy = scale * dq, and sums of dq * y and of dq. What is null is left out.
inline void Deactivate(int64_t pixels, int64_t channels, const float* dp, const float* more,
                       const float* p, const float* y, const float* scale, bool rectify, float* dq,
                       float* dy, double* by_scale, double* by_shift) {
  OverChannels(channels, [=](auto kind, int64_t c) {
    using V = decltype(kind);
    const V a = scale ? At<V>(scale + c) : V{} + 1;
    V s{}, q{};
    for (int64_t i = c; i < pixels * channels; i += channels) {
      V g = At<V>(dp + i);
      if (more) g += At<V>(more + i);
      if (rectify) g = At<V>(p + i) > 0 ? g : V{};
      if (dq) At<V>(dq + i) = g;
      if (scale) {
        s += g * At<V>(y + i);
        q += g;
      }
      At<V>(dy + i) = a * g;
    }
    if (!scale) return;
    float one[16], two[16];
    std::memcpy(one, &s, sizeof(V));
    std::memcpy(two, &q, sizeof(V));
    for (size_t k = 0; k < sizeof(V) / 4; ++k) by_scale[c + k] += one[k], by_shift[c + k] += two[k];
  });
}

// The larger of two; which it was is 0, 1 (equal) or 2. NaN wins.
template <typename V, typename I>
V Larger(V a, V b, I& which) {
  which = a > b ? I{} : (a == b ? I{} + 1 : I{} + 2);
  return a > b ? a : (b >= a ? b : a + b);
}

inline void Put(Ints which, uint8_t* at) {
  *reinterpret_cast<Codes*>(at) = __builtin_convertvector(which, Codes);
}
inline void Put(int32_t which, uint8_t* at) { *at = static_cast<uint8_t>(which); }
inline Ints Get(const uint8_t* at, Wide) {
  return __builtin_convertvector(*reinterpret_cast<const Codes*>(at), Ints);
}
inline int32_t Get(const uint8_t* at, float) { return *at; }
inline Wide AsFloat(Ints v) { return __builtin_convertvector(v, Wide); }
inline float AsFloat(int32_t v) { return static_cast<float>(v); }

// The maximum of each 2 x 2 square, and which of the four it was: as `layers.max_pool` has it.
inline void Pool(int64_t rows, int64_t columns, int64_t channels, const float* z, float* out,
                 uint8_t* which) {
  for (int64_t i = 0; i < rows / 2; ++i) {
    for (int64_t j = 0; j < columns / 2; ++j) {
      const float* square = z + (2 * i * columns + 2 * j) * channels;
      const int64_t to = (i * (columns / 2) + j) * channels;
      OverChannels(channels, [=](auto kind, int64_t c) {
        using V = decltype(kind);
        decltype(Get(which, V{})) top, low, both;
        const float* below = square + columns * channels + c;
        const V a = Larger<V>(At<V>(square + c), At<V>(square + channels + c), top);
        const V b = Larger<V>(At<V>(below), At<V>(below + channels), low);
        At<V>(out + to + c) = Larger<V>(a, b, both);
        Put(top | low << 2 | both << 4, which + to + c);
      });
    }
  }
}

// A maximum's gradient to where it came from; equals share it, as jnp.maximum has it.
inline void Unpool(int64_t rows, int64_t columns, int64_t channels, const float* g,
                   const uint8_t* which, float* out) {
  if (rows % 2 || columns % 2) std::memset(out, 0, rows * columns * channels * sizeof(float));
  for (int64_t i = 0; i < rows / 2; ++i) {
    for (int64_t j = 0; j < columns / 2; ++j) {
      float* square = out + (2 * i * columns + 2 * j) * channels;
      const int64_t from = (i * (columns / 2) + j) * channels;
      OverChannels(channels, [=](auto kind, int64_t c) {
        using V = decltype(kind);
        const auto code = Get(which + from + c, V{});
        const V all = At<V>(g + from + c);
        const V low = all * AsFloat(code >> 4) * 0.5f, top = all - low;
        float* below = square + columns * channels + c;
        At<V>(square + channels + c) = top * AsFloat(code & 3) * 0.5f;
        At<V>(square + c) = top - At<V>(square + channels + c);
        At<V>(below + channels) = low * AsFloat((code >> 2) & 3) * 0.5f;
        At<V>(below) = low - At<V>(below + channels);
      });
    }
  }
}

}  // namespace jaxmia
