// The three products of a convolution by oneDNN, as foreign functions of XLA's CPU backend.
//
// A product runs on the thread that calls it, and takes all its memory from the caller, as a second
// result of its call: XLA plans that memory like any other, and counts it.
#include <omp.h>

#include <cstdio>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "oneapi/dnnl/dnnl.hpp"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;
using dnnl::memory;
using Desc = memory::desc;

namespace {

enum Kind : int64_t { kForward, kInput, kWeight };

// oneDNN cuts its work for the threads it may use: products are both made and run under this.
class OneThread {
 public:
  OneThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(before_); }

 private:
  int before_;
};

const dnnl::engine& Cpu() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

dnnl::primitive_attr Attributes() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

// What a primitive reads or writes: one of the call's three operands, or a piece of its scratch.
struct Place {
  Desc desc;
  int operand;  // -1: scratch
  size_t offset;
};

struct Step {
  dnnl::primitive run;
  std::vector<std::pair<int, Place>> arguments;
};

struct Product {
  std::vector<Step> steps;
  size_t used = 0;

  static constexpr size_t kLine = 64;

  // Bytes of scratch that a call needs, which may begin anywhere.
  size_t Size() const { return used + kLine; }

  Place Scratch(const Desc& desc) {
    const size_t at = used;
    used += (desc.get_size() + kLine - 1) / kLine * kLine;
    return {desc, -1, at};
  }

  // Adds the product itself, and before and after it what changes the order of its operands.
  template <typename Primitive>
  void Plan(const typename Primitive::primitive_desc& desc, const int (&names)[3],
            const Desc (&here)[3], const Desc (&wanted)[3]) {
    Step step{Primitive(desc), {{DNNL_ARG_SCRATCHPAD, Scratch(desc.scratchpad_desc())}}};
    std::vector<Step> after;
    for (int i = 0; i < 3; ++i) {
      Place place{here[i], i, 0};
      if (here[i] != wanted[i]) {
        const Place copy = Scratch(wanted[i]);
        if (i < 2) Reorder(steps, place, copy);
        if (i == 2) Reorder(after, copy, place);
        place = copy;
      }
      step.arguments.push_back({names[i], place});
    }
    steps.push_back(step);
    steps.insert(steps.end(), after.begin(), after.end());
  }

  void Reorder(std::vector<Step>& steps, const Place& from, const Place& to) {
    const dnnl::reorder::primitive_desc desc(Cpu(), from.desc, Cpu(), to.desc, Attributes());
    steps.push_back({dnnl::reorder(desc),
                     {{DNNL_ARG_FROM, from},
                      {DNNL_ARG_TO, to},
                      {DNNL_ARG_SCRATCHPAD, Scratch(desc.scratchpad_desc())}}});
  }
};

// All that a product hangs on: kind, strides, pads (top, bottom, left, right), then of its three
// operands the type (1: bfloat16) and the shape, as JAX has them.
using Key = std::vector<int64_t>;

Desc Images(const int64_t* o) {
  const auto type = o[0] ? memory::data_type::bf16 : memory::data_type::f32;
  return {{o[1], o[4], o[2], o[3]}, type, memory::format_tag::nhwc};
}

Desc Kernel(const int64_t* o) {
  const auto type = o[0] ? memory::data_type::bf16 : memory::data_type::f32;
  return {{o[4], o[3], o[1], o[2]}, type, memory::format_tag::hwio};
}

Desc AnyOrder(const Desc& desc) {
  return {desc.get_dims(), desc.get_data_type(), memory::format_tag::any};
}

std::shared_ptr<const Product> Made(const Key& key) {
  const auto direct = dnnl::algorithm::convolution_direct;
  const memory::dims strides{key[1], key[2]}, before{key[3], key[5]}, after{key[4], key[6]};
  const int64_t *a = &key[7], *b = &key[12], *out = &key[17];
  const auto forward = [&](const Desc& x, const Desc& w, const Desc& y) {
    return dnnl::convolution_forward::primitive_desc(Cpu(), dnnl::prop_kind::forward_training,
                                                     direct, x, AnyOrder(w), y, strides, before,
                                                     after, Attributes());
  };
  auto product = std::make_shared<Product>();
  if (key[0] == kForward) {
    const Desc x = Images(a), w = Kernel(b), y = Images(out);
    const auto desc = forward(x, w, y);
    product->Plan<dnnl::convolution_forward>(
        desc, {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST}, {x, w, y},
        {desc.src_desc(), desc.weights_desc(), desc.dst_desc()});
  } else if (key[0] == kInput) {
    const Desc g = Images(a), w = Kernel(b), dx = Images(out);
    const dnnl::convolution_backward_data::primitive_desc desc(
        Cpu(), direct, dx, AnyOrder(w), g, strides, before, after, forward(dx, w, g), Attributes());
    product->Plan<dnnl::convolution_backward_data>(
        desc, {DNNL_ARG_DIFF_DST, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_SRC}, {g, w, dx},
        {desc.diff_dst_desc(), desc.weights_desc(), desc.diff_src_desc()});
  } else {
    const Desc x = Images(a), g = Images(b), dw = Kernel(out);
    const dnnl::convolution_backward_weights::primitive_desc desc(
        Cpu(), direct, x, AnyOrder(dw), g, strides, before, after, forward(x, dw, g), Attributes());
    product->Plan<dnnl::convolution_backward_weights>(
        desc, {DNNL_ARG_SRC, DNNL_ARG_DIFF_DST, DNNL_ARG_DIFF_WEIGHTS}, {x, g, dw},
        {desc.src_desc(), desc.diff_dst_desc(), desc.diff_weights_desc()});
  }
  return product;
}

// A product is made once for all threads; running it does not change it.
std::shared_ptr<const Product> Cached(const Key& key) {
  static std::mutex mutex;
  static auto& made = *new std::map<Key, std::shared_ptr<const Product>>;
  const std::lock_guard<std::mutex> lock(mutex);
  auto& product = made[key];
  if (!product) product = Made(key);
  return product;
}

void Run(const Product& product, void* const (&operands)[3], char* scratch) {
  thread_local dnnl::stream stream(Cpu());
  scratch += (-reinterpret_cast<uintptr_t>(scratch)) % Product::kLine;
  for (const Step& step : product.steps) {
    std::unordered_map<int, memory> arguments;
    for (const auto& [name, place] : step.arguments) {
      void* data = place.operand < 0 ? scratch + place.offset : operands[place.operand];
      arguments.emplace(name, memory(place.desc, Cpu(), data));
    }
    step.run.execute(stream, arguments);
  }
  stream.wait();
}

void Append(Key& key, const ffi::AnyBuffer& buffer) {
  key.push_back(buffer.element_type() == ffi::BF16);
  for (const int64_t n : buffer.dimensions()) key.push_back(n);
}

ffi::Error Call(ffi::AnyBuffer a, ffi::AnyBuffer b, ffi::Result<ffi::AnyBuffer> out,
                ffi::ResultBuffer<ffi::U8> scratch, ffi::Span<const int64_t> window) {
  try {
    const OneThread one;
    Key key(window.begin(), window.end());
    Append(key, a);
    Append(key, b);
    Append(key, *out);
    const auto product = Cached(key);
    if (product->Size() > scratch->element_count()) {
      return ffi::Error::Internal("oneDNN needs more memory than the program was compiled with");
    }
    Run(*product, {a.untyped_data(), b.untyped_data(), out->untyped_data()},
        reinterpret_cast<char*>(scratch->typed_data()));
  } catch (const std::exception& error) {
    return ffi::Error::Internal(std::string("oneDNN: ") + error.what());
  }
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxmia_product, Call,
                              ffi::Ffi::Bind()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Ret<ffi::Buffer<ffi::U8>>()
                                  .Attr<ffi::Span<const int64_t>>("window"));

// Bytes of scratch that a product needs; -1 where oneDNN refuses it, with the reason.
extern "C" int64_t jaxmia_scratch(const int64_t* key, size_t length, char* reason, size_t room) {
  try {
    const OneThread one;
    return static_cast<int64_t>(Cached(Key(key, key + length))->Size());
  } catch (const std::exception& error) {
    std::snprintf(reason, room, "%s", error.what());
    return -1;
  }
}
