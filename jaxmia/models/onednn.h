// A convolution's three products by oneDNN, made once for each shape and run on the calling thread.
#pragma once

#include <omp.h>

#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "oneapi/dnnl/dnnl.hpp"

namespace jaxmia {

using Desc = dnnl::memory::desc;

enum Kind : int64_t { kForward, kInput, kWeight };

// All that a product depends on: kind, strides, pads (top, bottom, left, right), then of its three
// operands the type (1: bfloat16) and the shape, as JAX has them.
using Key = std::vector<int64_t>;

// oneDNN cuts its work for the threads it may use: products are both made and run under this.
class OneThread {
 public:
  OneThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(before_); }

 private:
  int before_;
};

// Gives out the pieces of one scratch buffer; without a buffer it only counts them.
class Scratch {
 public:
  static constexpr size_t kLine = 64;

  explicit Scratch(void* data = nullptr) : data_(static_cast<char*>(data)) {
    if (data_) data_ += (-reinterpret_cast<uintptr_t>(data_)) % kLine;
  }

  template <typename T = char>
  T* Take(size_t count) {
    char* at = data_ + used_;
    used_ += (count * sizeof(T) + kLine - 1) / kLine * kLine;
    return reinterpret_cast<T*>(at);
  }

  size_t size() const { return used_ + kLine; }  // the buffer may begin anywhere

 private:
  char* data_;
  size_t used_ = 0;
};

// One of the three operands of a product: two arguments, then the result.
struct Operand {
  int name;
  Desc here, wanted;  // as JAX has it, and as oneDNN takes it
  dnnl::reorder change;
  Desc room;  // of the change itself

  bool Changes() const { return here != wanted; }
};

inline const dnnl::engine& Cpu() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

class Product {
 public:
  explicit Product(const Key& key);

  // An argument as the product takes it: itself, or changed into a piece of scratch.
  void* Taken(int i, void* data, Scratch& scratch) const;
  // The result, from what the product made of it.
  void Give(void* made, void* data, Scratch& scratch) const;
  // Runs on what the arguments were taken as, into a result not yet given.
  void Run(void* a, void* b, void* made, Scratch& scratch) const;

  size_t Made() const { return operands_[2].wanted.get_size(); }
  bool Changes(int i) const { return operands_[i].Changes(); }
  // Bytes of scratch for one call of everything.
  void Count(Scratch& scratch) const;

 private:
  template <typename Primitive>
  void Set(const typename Primitive::primitive_desc& desc, std::vector<Operand> operands);
  void Change(const Operand& operand, void* from, void* to, Scratch& scratch) const;

  dnnl::primitive run_;
  Desc room_;
  std::vector<Operand> operands_;
};

// A product is made once for all threads; running it does not change it.
std::shared_ptr<const Product> Cached(const Key& key);

}  // namespace jaxmia
