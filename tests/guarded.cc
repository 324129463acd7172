// Runs oneDNN's products on random shapes, each operand and the scratch between pages that nobody
// may touch, at their first or their last byte: a product that leaves its memory is caught there.
//
//   guarded COUNT SEED
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

#include <cstdio>
#include <random>

#include "onednn.h"

using namespace jaxmia;

namespace {

constexpr size_t kPage = 4096, kAround = 64 * kPage;
sigjmp_buf out_of_bounds;

struct Guarded {
  size_t room;
  char *base, *data;

  Guarded(size_t bytes, bool last) : room((bytes + kPage) / kPage * kPage) {
    base = static_cast<char*>(mmap(nullptr, room + 2 * kAround, PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(base, kAround, PROT_NONE);
    mprotect(base + kAround + room, kAround, PROT_NONE);
    const size_t lines = (bytes + Scratch::kLine - 1) / Scratch::kLine * Scratch::kLine;
    data = base + kAround + (last ? room - lines : 0);
  }
  ~Guarded() { munmap(base, room + 2 * kAround); }
};

size_t Bytes(const int64_t* shape) {
  return sizeof(float) * shape[1] * shape[2] * shape[3] * shape[4];
}

// Whether a product stays in its memory.
bool Stays(const Product& product, const int64_t* shapes, bool last) {
  Scratch needed;
  product.Count(needed);
  Guarded a(Bytes(shapes), last), b(Bytes(shapes + 5), last), out(Bytes(shapes + 10), last);
  Guarded room(needed.size(), last);
  if (sigsetjmp(out_of_bounds, 1)) return false;
  const OneThread one;
  Scratch scratch(room.data);
  void* p = product.Taken(0, a.data, scratch);
  void* q = product.Taken(1, b.data, scratch);
  void* made = product.Changes(2) ? scratch.Take(product.Made()) : out.data;
  product.Run(p, q, made, scratch);
  product.Give(made, out.data, scratch);
  return true;
}

}  // namespace

int main(int, char** arguments) {
  struct sigaction action = {};
  action.sa_handler = [](int) { siglongjmp(out_of_bounds, 1); };
  sigaction(SIGSEGV, &action, nullptr);
  sigaction(SIGBUS, &action, nullptr);
  std::mt19937 random(std::atoi(arguments[2]));
  const auto up_to = [&](int64_t n) { return 1 + static_cast<int64_t>(random() % n); };
  int wrong = 0;
  for (int i = std::atoi(arguments[1]); i; --i) {
    const bool pointwise = random() % 2;
    const int64_t high = pointwise ? 1 : up_to(5), wide = pointwise ? 1 : up_to(5);
    const int64_t rows = high + up_to(14) - 1, columns = wide + up_to(14) - 1, batch = up_to(4);
    const int64_t in = up_to(random() % 2 ? 8 : 70), out = up_to(70);
    const int64_t down = up_to(3), right = up_to(3), pads[4] = {
        up_to(high) - 1, up_to(high) - 1, up_to(wide) - 1, up_to(wide) - 1};
    const int64_t below = (rows + pads[0] + pads[1] - high) / down + 1;
    const int64_t across = (columns + pads[2] + pads[3] - wide) / right + 1;
    const Key x{0, batch, rows, columns, in}, w{0, high, wide, in, out};
    const Key y{0, batch, below, across, out};
    const Key operands[3][3] = {{x, w, y}, {y, w, x}, {x, y, w}};
    for (int64_t kind = 0; kind < 3; ++kind) {
      Key key{kind, down, right, pads[0], pads[1], pads[2], pads[3]};
      for (const Key& o : operands[kind]) key.insert(key.end(), o.begin(), o.end());
      const auto product = Cached(key);
      for (const bool last : {false, true}) {
        if (Stays(*product, &key[7], last)) continue;
        ++wrong;
        std::printf("product %ld:", kind);
        for (const int64_t n : key) std::printf(" %ld", n);
        std::printf("\n");
      }
    }
  }
  return wrong != 0;
}
