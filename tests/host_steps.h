// A runner of steps on the host: the decoder's own cached pass, the sampler of the CPU and the
// reference of advance(). What a GPU does in its place is held to this.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <deque>
#include <set>
#include <vector>

#include "core/base/rng.h"
#include "core/kernels/sample.h"
#include "core/model/kv_cache.h"
#include "rollout/step_runner.h"

namespace vernier::testing {

/// Rng::uniform() under a key, as a GPU draws it.
inline double uniform_at(uint64_t key, int32_t counter) {
  const auto block = philox({static_cast<uint32_t>(counter), 0, 0, 0},
                            {static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32)});
  return static_cast<double>(((uint64_t{block[1]} << 32) | block[0]) >> 11) * 0x1.0p-53;
}

class HostSteps final : public StepRunner {
 public:
  /// What tests want to know about a runner that an engine owns.
  struct Seen {
    std::vector<int64_t> batches;
    int64_t moves = 0, late = 0;  // late: steps launched before the one before was collected
  };

  HostSteps(Decoder& decoder, const StepLimits& limits, Seen& seen)
      : decoder_(decoder),
        limits_(limits),
        seen_(seen),
        pages_(limits.pages),
        slots_(static_cast<size_t>(limits.slots)) {
    if (limits.cache_gb > 0)
      pages_ = std::min(pages_, static_cast<int64_t>(limits.cache_gb * 1e9) /
                                    KvCache::page_bytes(decoder.spec()));
    cache_ = std::make_unique<KvCache>(decoder.spec(), pages_);
    const auto width = static_cast<size_t>((limits.longest + kPage - 1) / kPage);
    for (auto* values : {&id_, &position_, &count_, &limit_, &room_}) values->assign(slots_, 0);
    std::fill(position_.begin(), position_.end(), -1);
    status_.resize(slots_);
    sampling_.resize(slots_);
    tables_.assign(slots_, std::vector<int32_t>(width, -1));
  }

  int64_t slots() const override { return limits_.slots; }
  int64_t pages() const override { return pages_; }
  void weights_changed() override { REQUIRE(results_.size() == held_); }

  void launch(const StepInput& input) override {
    REQUIRE(results_.size() - held_ < 2);
    seen_.batches.push_back(input.batch);
    seen_.late += results_.size() > held_ ? 1 : 0;
    seen_.moves += std::ssize(input.moves);
    REQUIRE(input.batch == step_batch(input.batch, limits_.slots));
    REQUIRE(std::ssize(input.chunks.ids) <= limits_.step_tokens);
    for (const auto& [from, to, tokens] : input.copies) cache_->copy(from, to, kPage);
    if (!input.chunks.ids.empty()) decoder_.cached(input.chunks, *cache_, limits_.weights);
    change(input);
    results_.push_back(decode(input.batch));
  }

  StepDrawn collect() override {
    for (; held_ > 0; --held_) results_.pop_front();
    REQUIRE(!results_.empty());
    held_ = 1;
    const Result& one = results_.front();
    return {.ids = one.ids, .logprob = one.logprob, .plain = one.plain};
  }

 private:
  static constexpr int64_t kPage = kernels::kKeyBlock;
  struct Result {
    std::vector<int32_t> ids;
    std::vector<float> logprob, plain;
  };

  void change(const StepInput& input) {
    for (const auto& [from, to] : input.moves) {
      for (auto* values : {&id_, &position_, &count_, &limit_, &room_})
        (*values)[at(to)] = (*values)[at(from)];
      sampling_[at(to)] = sampling_[at(from)];
    }
    for (const StepInput::Start& start : input.starts) {
      id_[at(start.slot)] = start.id;
      position_[at(start.slot)] = start.position;
      count_[at(start.slot)] = start.count;
      limit_[at(start.slot)] = start.limit;
      sampling_[at(start.slot)] = start.sampling;
    }
    for (const auto& [slot, tokens, position] : input.rooms) {
      room_[at(slot)] = tokens;
      position_[at(slot)] = position;
    }
    for (const auto& [slot, place, page] : input.pages) tables_[at(slot)][at(place)] = page;
    for (const int32_t slot : input.stops) position_[at(slot)] = -1;
    // Who is beyond the batch would be forgotten.
    for (size_t slot = at(static_cast<int32_t>(input.batch)); slot < slots_; ++slot)
      CHECK(position_[slot] < 0);
  }

  Result decode(int64_t batch) {
    Result out{std::vector<int32_t>(slots_, -7), std::vector<float>(slots_, 7),
               std::vector<float>(slots_, 7)};
    CachedTokens tokens;
    std::vector<size_t> active;
    std::set<int32_t> written;
    for (size_t slot = 0; slot < static_cast<size_t>(batch); ++slot) {
      if (position_[slot] < 0) continue;
      active.push_back(slot);
      const int32_t last = tables_[slot][static_cast<size_t>(position_[slot] / kPage)];
      REQUIRE(last >= 0);
      REQUIRE(written.insert(last).second);  // nobody else's
      tokens.add(std::span(&id_[slot], 1), {}, position_[slot], tables_[slot]);
    }
    if (active.empty()) return out;
    const at::Tensor logits =
        decoder_.logits(decoder_.cached(tokens, *cache_, limits_.weights), limits_.weights);
    for (size_t row = 0; row < active.size(); ++row) {
      const size_t slot = active[row];
      const auto& how = sampling_[slot];
      const int64_t vocabulary = logits.size(1);
      const float* values = logits.const_data_ptr<float>() + static_cast<int64_t>(row) * vocabulary;
      const Drawn drawn =
          kernels::sample_token(values, vocabulary,
                                {.temperature = how.temperature,
                                 .top_k = how.top_k,
                                 .top_p = how.top_p,
                                 .min_p = how.min_p},
                                how.banned, uniform_at(how.key, count_[slot]), scratch_);
      out.ids[slot] = drawn.id;
      out.logprob[slot] = drawn.logprob;
      out.plain[slot] = how.temperature == 0 || how.temperature == 1
                            ? drawn.logprob
                            : kernels::token_logprob(values, vocabulary, drawn.id, 1.0);
    }
    int32_t running = 0;
    kernels::ref::advance({.id = id_.data(),
                           .position = position_.data(),
                           .count = count_.data(),
                           .status = status_.data(),
                           .limit = limit_.data(),
                           .room = room_.data(),
                           .running = &running},
                          out.ids.data(), out.logprob.data(), out.plain.data(), batch);
    return out;
  }

  static size_t at(int32_t place) { return static_cast<size_t>(place); }

  Decoder& decoder_;
  StepLimits limits_;
  Seen& seen_;
  int64_t pages_;
  size_t slots_;
  std::unique_ptr<KvCache> cache_;
  std::vector<int32_t> id_, position_, count_, limit_, room_;
  std::vector<kernels::device::SlotStatus> status_;
  std::vector<kernels::device::SlotSampling> sampling_;
  std::vector<std::vector<int32_t>> tables_;
  std::deque<Result> results_;  // the first `held_` were collected
  size_t held_ = 0;
  std::vector<int32_t> scratch_;
};

}  // namespace vernier::testing
