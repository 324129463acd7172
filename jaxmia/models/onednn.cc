// The three products of a convolution as foreign functions of XLA's CPU backend.
//
// A product takes all its memory from the caller, as a second result of its call: XLA plans that
// memory like any other, and counts it.
#include "onednn.h"

#include <cstdio>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>
#include <unordered_map>

#include "xla/ffi/api/ffi.h"

namespace jaxmia {
namespace {

namespace ffi = xla::ffi;
using dnnl::memory;

dnnl::primitive_attr Attributes() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

memory::data_type Type(const int64_t* o) {
  return o[0] ? memory::data_type::bf16 : memory::data_type::f32;
}
Desc Images(const int64_t* o) {
  return {{o[1], o[4], o[2], o[3]}, Type(o), memory::format_tag::nhwc};
}
Desc Kernel(const int64_t* o) {
  return {{o[4], o[3], o[1], o[2]}, Type(o), memory::format_tag::hwio};
}
Desc AnyOrder(const Desc& desc) {
  return {desc.get_dims(), desc.get_data_type(), memory::format_tag::any};
}

void Execute(const dnnl::primitive& run, const std::unordered_map<int, memory>& arguments) {
  thread_local dnnl::stream stream(Cpu());
  run.execute(stream, arguments);
  stream.wait();
}

// Where a stride leaves pixels out, oneDNN's 1 x 1 code gathers the others into its scratch a vector
// of channels at a time, and with fewer channels than that it writes beyond (3.2, AVX2).
template <typename Description>
bool WritesBeyond(const Description& desc, const Desc& x, const memory::dims& strides) {
  constexpr int64_t kVector = 16;
  const bool gathers = strides[0] > 1 || strides[1] > 1;
  return gathers && x.get_dims()[1] % kVector &&
         std::string(desc.impl_info_str()).rfind("jit_1x1", 0) == 0;
}

}  // namespace

Product::Product(const Key& key) {
  const auto direct = dnnl::algorithm::convolution_direct;
  const memory::dims strides{key[1], key[2]}, before{key[3], key[5]}, after{key[4], key[6]};
  const int64_t *a = &key[7], *b = &key[12], *out = &key[17];
  const auto forward = [&](const Desc& x, const Desc& w, const Desc& y) {
    return dnnl::convolution_forward::primitive_desc(Cpu(), dnnl::prop_kind::forward_training,
                                                     direct, x, AnyOrder(w), y, strides, before,
                                                     after, Attributes());
  };
  if (key[0] == kForward) {
    const Desc x = Images(a), w = Kernel(b), y = Images(out);
    const auto desc = forward(x, w, y);
    Set<dnnl::convolution_forward>(desc, {{DNNL_ARG_SRC, x, desc.src_desc()},
                                          {DNNL_ARG_WEIGHTS, w, desc.weights_desc()},
                                          {DNNL_ARG_DST, y, desc.dst_desc()}});
  } else if (key[0] == kInput) {
    const Desc g = Images(a), w = Kernel(b), dx = Images(out);
    const dnnl::convolution_backward_data::primitive_desc desc(
        Cpu(), direct, dx, AnyOrder(w), g, strides, before, after, forward(dx, w, g), Attributes());
    Set<dnnl::convolution_backward_data>(desc,
                                         {{DNNL_ARG_DIFF_DST, g, desc.diff_dst_desc()},
                                          {DNNL_ARG_WEIGHTS, w, desc.weights_desc()},
                                          {DNNL_ARG_DIFF_SRC, dx, desc.diff_src_desc()}});
  } else {
    const Desc x = Images(a), g = Images(b), dw = Kernel(out);
    dnnl::convolution_backward_weights::primitive_desc desc(
        Cpu(), direct, x, AnyOrder(dw), g, strides, before, after, forward(x, dw, g), Attributes());
    while (WritesBeyond(desc, x, strides)) {
      if (!desc.next_impl()) throw std::runtime_error("no sound implementation");
    }
    Set<dnnl::convolution_backward_weights>(desc,
                                            {{DNNL_ARG_SRC, x, desc.src_desc()},
                                             {DNNL_ARG_DIFF_DST, g, desc.diff_dst_desc()},
                                             {DNNL_ARG_DIFF_WEIGHTS, dw, desc.diff_weights_desc()}});
  }
}

template <typename Primitive>
void Product::Set(const typename Primitive::primitive_desc& desc, std::vector<Operand> operands) {
  run_ = Primitive(desc);
  room_ = desc.scratchpad_desc();
  operands_ = std::move(operands);
  for (int i = 0; i < 3; ++i) {
    Operand& o = operands_[i];
    if (!o.Changes()) continue;
    const dnnl::reorder::primitive_desc change(Cpu(), i < 2 ? o.here : o.wanted, Cpu(),
                                               i < 2 ? o.wanted : o.here, Attributes());
    o.change = dnnl::reorder(change);
    o.room = change.scratchpad_desc();
  }
}

void Product::Change(const Operand& o, void* from, void* to, Scratch& scratch) const {
  const bool argument = &o != &operands_[2];
  Execute(o.change, {{DNNL_ARG_FROM, memory(argument ? o.here : o.wanted, Cpu(), from)},
                     {DNNL_ARG_TO, memory(argument ? o.wanted : o.here, Cpu(), to)},
                     {DNNL_ARG_SCRATCHPAD, memory(o.room, Cpu(), scratch.Take(o.room.get_size()))}});
}

void* Product::Taken(int i, void* data, Scratch& scratch) const {
  const Operand& o = operands_[i];
  if (!o.Changes()) return data;
  void* copy = scratch.Take(o.wanted.get_size());
  Change(o, data, copy, scratch);
  return copy;
}

void Product::Give(void* made, void* data, Scratch& scratch) const {
  if (made == data) return;
  if (Changes(2)) return Change(operands_[2], made, data, scratch);
  std::memcpy(data, made, Made());
}

void Product::Run(void* a, void* b, void* made, Scratch& scratch) const {
  Execute(run_, {{operands_[0].name, memory(operands_[0].wanted, Cpu(), a)},
                 {operands_[1].name, memory(operands_[1].wanted, Cpu(), b)},
                 {operands_[2].name, memory(operands_[2].wanted, Cpu(), made)},
                 {DNNL_ARG_SCRATCHPAD, memory(room_, Cpu(), scratch.Take(room_.get_size()))}});
}

void Product::Count(Scratch& scratch) const {
  for (const Operand& o : operands_) {
    if (!o.Changes()) continue;
    scratch.Take(o.wanted.get_size());
    scratch.Take(o.room.get_size());
  }
  scratch.Take(room_.get_size());
}

std::shared_ptr<const Product> Cached(const Key& key) {
  static std::mutex mutex;
  static auto& made = *new std::map<Key, std::shared_ptr<const Product>>;
  const std::lock_guard<std::mutex> lock(mutex);
  auto& product = made[key];
  if (!product) product = std::make_shared<const Product>(key);
  return product;
}

namespace {

void Append(Key& key, const ffi::AnyBuffer& buffer) {
  key.push_back(buffer.element_type() == ffi::BF16);
  for (const int64_t n : buffer.dimensions()) key.push_back(n);
}

ffi::Error Call(ffi::AnyBuffer a, ffi::AnyBuffer b, ffi::Result<ffi::AnyBuffer> out,
                ffi::ResultBuffer<ffi::U8> room, ffi::Span<const int64_t> window) {
  try {
    const OneThread one;
    Key key(window.begin(), window.end());
    Append(key, a);
    Append(key, b);
    Append(key, *out);
    const auto product = Cached(key);
    Scratch needed, scratch(room->typed_data());
    product->Count(needed);
    if (needed.size() > room->element_count()) {
      return ffi::Error::Internal("oneDNN needs more memory than the program was compiled with");
    }
    void* p = product->Taken(0, a.untyped_data(), scratch);
    void* q = product->Taken(1, b.untyped_data(), scratch);
    void* made = product->Changes(2) ? scratch.Take(product->Made()) : out->untyped_data();
    product->Run(p, q, made, scratch);
    product->Give(made, out->untyped_data(), scratch);
  } catch (const std::exception& error) {
    return ffi::Error::Internal(std::string("oneDNN: ") + error.what());
  }
  return ffi::Error::Success();
}

}  // namespace
}  // namespace jaxmia

XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxmia_product, jaxmia::Call,
                              xla::ffi::Ffi::Bind()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Ret<xla::ffi::AnyBuffer>()
                                  .Ret<xla::ffi::Buffer<xla::ffi::U8>>()
                                  .Attr<xla::ffi::Span<const int64_t>>("window"));

// Bytes of scratch that a product needs; -1 where oneDNN refuses it, with the reason.
extern "C" int64_t jaxmia_scratch(const int64_t* key, size_t length, char* reason, size_t room) {
  try {
    const jaxmia::OneThread one;
    jaxmia::Scratch scratch;
    jaxmia::Cached(jaxmia::Key(key, key + length))->Count(scratch);
    return static_cast<int64_t>(scratch.size());
  } catch (const std::exception& error) {
    std::snprintf(reason, room, "%s", error.what());
    return -1;
  }
}
