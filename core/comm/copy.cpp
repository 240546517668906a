// A buffer of rank 0 on its way to the others: in pieces, each with its hash.
#include <ATen/ATen.h>

#include <algorithm>

#include "core/base/files.h"
#include "core/comm/links.h"

namespace vernier {
namespace {

constexpr int64_t kPiece = 1 << 23;  // numbers

std::string hash_of(const at::Tensor& values) {
  const at::Tensor here = values.cpu();
  return hash_bytes(here.const_data_ptr(), static_cast<size_t>(here.nbytes()));
}

const size_t kHashBytes = hash_bytes("", 0).size();

// Ends of the pieces: none goes over a cut.
std::vector<int64_t> ends_of(int64_t numbers, std::vector<int64_t> cuts) {
  cuts.push_back(numbers);
  std::vector<int64_t> out;
  int64_t begin = 0;
  for (const int64_t end : cuts)
    for (; begin < end; out.push_back(begin)) begin = std::min(begin + kPiece, end);
  return out;
}

}  // namespace

// The links' own threads carry what was begun, in its order. Where one operation of a group fails,
// all that were begun behind it do.
class Ranks::CopyOfFirst final : public Copy {
 public:
  CopyOfFirst(Ranks& ranks, at::Tensor& buffer, std::vector<int64_t> cuts, int64_t version,
              const char* what)
      : sends_(ranks.first()),
        links_(*ranks.links_),
        what_(what),
        ends_(ends_of(buffer.numel(), std::move(cuts))) {
    links_.agree_alike({buffer.numel(), version}, ranks.size(), what);
    hashes_ = at::zeros({static_cast<int64_t>(kHashBytes * ends_.size())}, at::kByte);
    if (!sends_) add(0, buffer);
  }

  void send(int64_t first, const at::Tensor& values) override {
    ensure(sends_ && first == end_, "pieces of rank 0 in their order");
    add(first, values);
  }

  bool here() override {
    while (done_ < works_.size() && works_[done_]->isCompleted()) end_next();
    return done_ > ends_.size();
  }

  bool finish() override {
    while (done_ < works_.size()) end_next();
    return sends_ || at::equal(found_, hashes_);
  }

 private:
  // The next pieces are these.
  void add(int64_t first, const at::Tensor& values) {
    const size_t before = pieces_.size();
    for (; pieces_.size() < ends_.size() && ends_[pieces_.size()] <= first + values.numel();
         end_ = ends_[pieces_.size() - 1]) {
      pieces_.push_back(values.narrow(0, end_ - first, ends_[pieces_.size()] - end_));
      begin(pieces_.back(), links_.group(values));
    }
    ensure(end_ == first + values.numel(), "whole pieces");
    for (size_t i = before; sends_ && i < pieces_.size(); ++i)
      note_hash(i, hashes_);  // while they are on their way
    if (pieces_.size() == ends_.size()) begin(hashes_, *links_.gloo);
  }

  void begin(at::Tensor values, c10d::Backend& group) {
    std::vector<at::Tensor> tensors = {std::move(values)};
    works_.push_back(links_.attempt(what_, [&] { return group.broadcast(tensors); }));
  }

  void end_next() {
    const bool last = done_ == ends_.size();
    links_.run(
        what_, [&] { return works_[done_]; }, !last && pieces_[done_].is_cuda());
    if (!sends_ && !last) note_hash(done_, found_);
    if (sends_ && !last) {  // who sends it may be done with it
      pieces_[done_] = at::Tensor();
      works_[done_].reset();  // has it too
    }
    ++done_;
  }

  void note_hash(size_t piece, at::Tensor& hashes) {
    if (!hashes.defined()) hashes = at::zeros_like(hashes_);
    const std::string hash = hash_of(pieces_[piece]);
    std::copy(hash.begin(), hash.end(), hashes.mutable_data_ptr<uint8_t>() + piece * kHashBytes);
  }

  const bool sends_;
  Links& links_;
  const char* what_;
  const std::vector<int64_t> ends_;  // of the pieces
  at::Tensor hashes_, found_;        // of all of them: as rank 0 has them, and as they are here
  std::vector<at::Tensor> pieces_;   // that were given
  int64_t end_ = 0;                  // of the last of them
  std::vector<c10::intrusive_ptr<c10d::Work>> works_;  // that were begun: pieces, then hashes
  size_t done_ = 0;                                    // of these
};

std::unique_ptr<Copy> Ranks::begin_copy(at::Tensor& buffer, std::vector<int64_t> cuts,
                                        int64_t version, const char* what) {
  ensure(!alone(), "others to copy to");
  return std::make_unique<CopyOfFirst>(*this, buffer, std::move(cuts), version, what);
}

void Ranks::end_copy(Copy& copy, const char* what) {
  const std::vector<int64_t> whole = gather_numbers(copy.finish() ? 1 : 0, what);
  for (size_t r = 0; r < whole.size(); ++r)
    if (whole[r] == 0) fail_run(what, ": rank ", r, " has received other bytes than were sent");
}

void Ranks::copy_from_first(at::Tensor& buffer, int64_t version, const char* what) {
  if (alone()) return;
  const std::unique_ptr<Copy> copy = begin_copy(buffer, {}, version, what);
  if (first()) copy->send(0, buffer);
  end_copy(*copy, what);
}

}  // namespace vernier
