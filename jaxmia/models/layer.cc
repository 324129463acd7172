// A layer and its gradient, a few images at a time while they lie in the cache: what activates its
// input, the convolution, pooling, and the sums that a normalisation of its output needs.
#include <algorithm>
#include <cstdio>
#include <exception>
#include <string>

#include "onednn.h"
#include "passes.h"
#include "xla/ffi/api/ffi.h"

namespace jaxmia {
namespace {

namespace ffi = xla::ffi;
using F = ffi::Buffer<ffi::F32>;
using Bytes = ffi::Buffer<ffi::U8>;
using R = ffi::Result<F>;

constexpr int64_t kNear = 1 << 16;  // floats of one tile's input or output, which stay in the cache

float* Data(F buffer) { return buffer.element_count() ? buffer.typed_data() : nullptr; }
float* Data(R buffer) { return Data(*buffer); }
float* Plus(float* data, int64_t n) { return data ? data + n : nullptr; }

// The shapes of a layer, and its three products for one tile.
struct Layer {
  int64_t batch, rows, columns, in, high, wide, out, below, across, tile;
  bool rectify, pool;
  std::shared_ptr<const Product> forward, input, weight;

  // options: strides, pads, rectify, pool; then the shapes of y and w
  Layer(const int64_t* o, const int64_t* y, const int64_t* w)
      : batch(y[0]), rows(y[1]), columns(y[2]), in(y[3]), high(w[0]), wide(w[1]), out(w[3]),
        below((rows + o[2] + o[3] - high) / o[0] + 1),
        across((columns + o[4] + o[5] - wide) / o[1] + 1), rectify(o[6]), pool(o[7]) {
    // a wide layer's kernel is large itself: adding up its gradient must not outweigh the products
    const int64_t near = std::max(kNear, 2 * high * wide * in * out);
    const int64_t image = std::max(rows * columns * in, below * across * out);
    const int64_t most = std::max<int64_t>(1, near / image);
    for (tile = std::min(most, batch); batch % tile; --tile) {}
    const auto made = [&](Kind kind, const Key& a, const Key& b, const Key& c) {
      Key key{kind, o[0], o[1], o[2], o[3], o[4], o[5]};
      for (const Key& shape : {a, b, c}) {
        key.push_back(0);
        key.insert(key.end(), shape.begin(), shape.end());
      }
      return Cached(key);
    };
    const Key x{tile, rows, columns, in}, k{high, wide, in, out}, z{tile, below, across, out};
    forward = made(kForward, x, k, z);
    input = made(kInput, z, k, x);
    weight = made(kWeight, x, z, k);
  }

  int64_t Seen() const { return tile * rows * columns; }    // pixels of a tile's input
  int64_t Made() const { return tile * below * across; }    // of what the convolution makes of it
  int64_t Left() const { return pool ? tile * (below / 2) * (across / 2) : Made(); }
};

// What activates a layer's input.
struct Before {
  float *y, *scale, *shift, *more;
  bool rectify;
  bool Nothing() const { return !scale && !more && !rectify; }
  void Apply(int64_t first, const Layer& layer, float* p) const {
    Activate(layer.Seen(), layer.in, y + first, scale, shift, Plus(more, first), rectify, p);
  }
};

// Where a pass is null, the size of its scratch is counted, and nothing is run.
struct ForwardPass {
  Before before;
  float *w, *z, *sum, *square, *p;
  uint8_t* which;
};

void Run(const Layer& l, const ForwardPass* f, bool emits, Scratch& scratch) {
  float* near = scratch.Take<float>(l.Seen() * l.in);
  float* whole = scratch.Take<float>(l.Made() * l.out);
  double* sums = scratch.Take<double>(2 * l.out);
  if (!f) return l.forward->Count(scratch);
  std::fill(sums, sums + 2 * l.out, 0.0);
  void* w = l.forward->Taken(1, f->w, scratch);
  for (int64_t i = 0; i < l.batch / l.tile; ++i) {
    const int64_t at = i * l.Seen() * l.in, to = i * l.Left() * l.out;
    float* p = f->before.Nothing() ? f->before.y + at : emits ? f->p + at : near;
    if (p != f->before.y + at) f->before.Apply(at, l, p);
    if (emits && p != f->p + at) std::copy(p, p + l.Seen() * l.in, f->p + at);
    float* made = l.pool ? whole : f->z + to;
    Scratch rest = scratch;
    l.forward->Run(p, w, made, rest);
    if (l.pool) {
      for (int64_t b = 0; b < l.tile; ++b) {
        const int64_t one = b * l.Left() / l.tile * l.out;
        Pool(l.below, l.across, l.out, whole + b * l.below * l.across * l.out, f->z + to + one,
             f->which + to + one);
      }
    }
    if (f->sum) Sums(l.Left(), l.out, f->z + to, sums, sums + l.out);
  }
  if (f->sum) {
    std::copy(sums, sums + l.out, f->sum);
    std::copy(sums + l.out, sums + 2 * l.out, f->square);
  }
}

struct BackwardPass {
  Before before;
  float *w, *p, *z, *g, *by_sum, *by_square, *by_p;
  uint8_t* which;
  float *dy, *dw, *dscale, *dshift, *dmore;
};

void Run(const Layer& l, const BackwardPass* f, Scratch& scratch) {
  float* near = scratch.Take<float>(l.Seen() * l.in);
  float* back = scratch.Take<float>(l.Seen() * l.in);
  float* total = scratch.Take<float>(l.Left() * l.out);
  float* whole = scratch.Take<float>(l.Made() * l.out);
  double* sums = scratch.Take<double>(2 * l.in);
  const size_t many = l.weight->Made() / sizeof(float);
  float *part = scratch.Take<float>(many), *dw = scratch.Take<float>(many);
  if (!f) {
    l.input->Count(scratch);
    return l.weight->Count(scratch);
  }
  std::fill(sums, sums + 2 * l.in, 0.0);
  std::fill(dw, dw + many, 0.0f);
  void* w = f->dy ? l.input->Taken(1, f->w, scratch) : nullptr;
  for (int64_t i = 0; i < l.batch / l.tile; ++i) {
    const int64_t at = i * l.Seen() * l.in, from = i * l.Left() * l.out;
    float* g = f->g + from;
    if (f->by_sum) {
      Total(l.Left(), l.out, g, f->by_sum, f->by_square, f->z + from, total);
      g = total;
    }
    if (l.pool) {
      for (int64_t b = 0; b < l.tile; ++b) {
        const int64_t one = b * l.Left() / l.tile * l.out;
        Unpool(l.below, l.across, l.out, g + one, f->which + from + one,
               whole + b * l.below * l.across * l.out);
      }
      g = whole;
    }
    float* p = f->p ? f->p + at : f->before.Nothing() ? f->before.y + at : near;
    if (p == near) f->before.Apply(at, l, p);
    Scratch rest = scratch;
    l.weight->Run(p, g, part, rest);
    for (size_t k = 0; k < many; ++k) dw[k] += part[k];
    if (!f->dy) continue;
    rest = scratch;
    l.input->Run(g, w, back, rest);
    Deactivate(l.Seen(), l.in, back, Plus(f->by_p, at), p, f->before.y + at, f->before.scale,
               l.rectify, Plus(f->dmore, at), f->dy + at, sums, sums + l.in);
  }
  l.weight->Give(dw, f->dw, scratch);
  if (f->dscale) {
    std::copy(sums, sums + l.in, f->dscale);
    std::copy(sums + l.in, sums + 2 * l.in, f->dshift);
  }
}

template <typename Pass>
ffi::Error Guarded(size_t room, Scratch needed, Pass pass) {
  if (needed.size() > room) {
    return ffi::Error::Internal("oneDNN needs more memory than the program was compiled with");
  }
  pass();
  return ffi::Error::Success();
}

ffi::Error Forward(F y, F w, F scale, F shift, F more, R z, R sum, R square, R p,
                   ffi::Result<Bytes> which, ffi::Result<Bytes> room,
                   ffi::Span<const int64_t> options) {
  try {
    const OneThread one;
    const Layer layer(options.begin(), y.dimensions().begin(), w.dimensions().begin());
    const bool emits = p->element_count() > 0;
    const ForwardPass pass{{Data(y), Data(scale), Data(shift), Data(more), layer.rectify},
                           Data(w), Data(z), Data(sum), Data(square), Data(p),
                           which->typed_data()};
    Scratch needed, scratch(room->typed_data());
    Run(layer, static_cast<const ForwardPass*>(nullptr), emits, needed);
    return Guarded(room->element_count(), needed, [&] { Run(layer, &pass, emits, scratch); });
  } catch (const std::exception& error) {
    return ffi::Error::Internal(std::string("oneDNN: ") + error.what());
  }
}

ffi::Error Backward(F y, F w, F scale, F shift, F more, F p, F z, Bytes which, F g, F by_sum,
                    F by_square, F by_p, R dy, R dw, R dscale, R dshift, R dmore,
                    ffi::Result<Bytes> room, ffi::Span<const int64_t> options) {
  try {
    const OneThread one;
    const Layer layer(options.begin(), y.dimensions().begin(), w.dimensions().begin());
    const BackwardPass pass{{Data(y), Data(scale), Data(shift), Data(more), layer.rectify},
                            Data(w), Data(p), Data(z), Data(g), Data(by_sum), Data(by_square),
                            Data(by_p), which.typed_data(),
                            Data(dy), Data(dw), Data(dscale), Data(dshift), Data(dmore)};
    Scratch needed, scratch(room->typed_data());
    Run(layer, static_cast<const BackwardPass*>(nullptr), needed);
    return Guarded(room->element_count(), needed, [&] { Run(layer, &pass, scratch); });
  } catch (const std::exception& error) {
    return ffi::Error::Internal(std::string("oneDNN: ") + error.what());
  }
}

}  // namespace
}  // namespace jaxmia

namespace ffi = xla::ffi;
using F = ffi::Buffer<ffi::F32>;
using Bytes = ffi::Buffer<ffi::U8>;

XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxmia_layer, jaxmia::Forward,
                              ffi::Ffi::Bind()
                                  .Arg<F>().Arg<F>().Arg<F>().Arg<F>().Arg<F>()
                                  .Ret<F>().Ret<F>().Ret<F>().Ret<F>().Ret<Bytes>().Ret<Bytes>()
                                  .Attr<ffi::Span<const int64_t>>("options"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxmia_layer_gradient, jaxmia::Backward,
                              ffi::Ffi::Bind()
                                  .Arg<F>().Arg<F>().Arg<F>().Arg<F>().Arg<F>().Arg<F>().Arg<F>()
                                  .Arg<Bytes>().Arg<F>().Arg<F>().Arg<F>().Arg<F>()
                                  .Ret<F>().Ret<F>().Ret<F>().Ret<F>().Ret<F>().Ret<Bytes>()
                                  .Attr<ffi::Span<const int64_t>>("options"));

// Bytes of scratch of a layer, or of its gradient; -1 where oneDNN refuses it, with the reason.
extern "C" int64_t jaxmia_layer_scratch(const int64_t* key, int64_t gradient, char* reason,
                                        size_t room) {
  try {
    const jaxmia::OneThread one;
    const jaxmia::Layer layer(key, key + 8, key + 12);
    jaxmia::Scratch scratch;
    if (gradient) {
      jaxmia::Run(layer, static_cast<const jaxmia::BackwardPass*>(nullptr), scratch);
    } else {
      jaxmia::Run(layer, static_cast<const jaxmia::ForwardPass*>(nullptr), false, scratch);
    }
    return static_cast<int64_t>(scratch.size());
  } catch (const std::exception& error) {
    std::snprintf(reason, room, "%s", error.what());
    return -1;
  }
}
