#include "rollout/device_steps.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <optional>

#include "core/base/errors.h"
#include "core/base/pulse.h"
#include "core/kernels/device_runtime.h"
#include "core/model/device_decoder.h"

namespace vernier {

namespace device = kernels::device;
using device::Bf16;
using device::Memory;

namespace {

constexpr int64_t kPageTokens = kernels::kKeyBlock;
constexpr int64_t kMostSlots = 1024;  // of plan_decode() and advance()

int64_t pages_of(int64_t tokens) { return (tokens + kPageTokens - 1) / kPageTokens; }

/// Where the words lie that make up the state of the slots: arrays [slots], then how they are drawn
/// from, then the page table [slots, width].
struct Words {
  static constexpr int64_t kSampling = sizeof(device::SlotSampling) / sizeof(int32_t);
  int64_t slots, width;

  int64_t id(int64_t slot) const { return slot; }
  int64_t position(int64_t slot) const { return slots + slot; }
  int64_t count(int64_t slot) const { return 2 * slots + slot; }
  int64_t status(int64_t slot) const { return 3 * slots + slot; }
  int64_t limit(int64_t slot) const { return 4 * slots + slot; }
  int64_t room(int64_t slot) const { return 5 * slots + slot; }
  int64_t running() const { return 6 * slots; }
  // At an even word: it holds numbers of 8 bytes.
  int64_t sampling(int64_t slot) const { return 6 * slots + 2 + slot * kSampling; }
  int64_t page(int64_t slot, int64_t place) const { return sampling(slots) + slot * width + place; }
  int64_t total() const { return page(slots, 0); }
};

/// What the host gives a step: written to pinned memory, copied as one piece. Two of the former,
/// since the copy of one step may be under way while the next one is written.
class Parcel {
 public:
  explicit Parcel(int64_t bytes)
      : gpu_(Memory::Kind::gpu, bytes),
        host_{Memory(Memory::Kind::pinned, bytes), Memory(Memory::Kind::pinned, bytes)} {}

  void begin() {
    turn_ = 1 - turn_;
    used_ = 0;
  }
  /// Where the values will lie on the GPU.
  template <class V>
  const V* add(const std::vector<V>& values) {
    const auto bytes = static_cast<int64_t>(values.size() * sizeof(V));
    used_ = kernels::round_up(used_, kAlign);
    ensure(used_ + bytes <= gpu_.size(), "room for what a step is given");
    if (bytes > 0)
      std::memcpy(host().as<std::byte>() + used_, values.data(), values.size() * sizeof(V));
    const V* place = reinterpret_cast<const V*>(gpu_.as<std::byte>() + used_);
    used_ += bytes;
    return place;
  }
  void send(const device::Stream& stream) {
    device::copy(gpu_.as<std::byte>(), host().as<std::byte>(), used_, stream);
  }

  static constexpr int64_t kAlign = 16;

 private:
  const Memory& host() const { return host_[static_cast<size_t>(turn_)]; }

  Memory gpu_;
  std::array<Memory, 2> host_;
  int64_t used_ = 0;
  int turn_ = 0;
};

int64_t parcel_bytes(const StepLimits& limits, const Words& words) {
  const int64_t writes = 9 + Words::kSampling + words.width;  // of a slot that starts
  const int64_t slot = static_cast<int64_t>(sizeof(device::ChunkSpan)) + 4 * words.width +
                       8 * (8 + Words::kSampling) + 8 * writes;
  return 12 * limits.step_tokens + limits.slots * slot + 16 * Parcel::kAlign;
}

template <class T>
class DeviceSteps final : public StepRunner {
 public:
  DeviceSteps(Decoder& decoder, const StepLimits& limits)
      : spec_(decoder.spec()),
        parts_(decoder.parts()),
        limits_(limits),
        words_{.slots = limits.slots, .width = pages_of(limits.longest)},
        decoder_(decoder, limits.longest, std::max(limits.slots, limits.step_tokens)),
        state_(Memory::Kind::gpu, 4 * words_.total()),
        parcel_(parcel_bytes(limits, words_)),
        logits_(Memory::Kind::gpu, 4 * limits.slots * spec_.vocab_size),
        drawn_(Memory::Kind::gpu, 12 * limits.slots),
        plan_starts_(Memory::Kind::gpu, 4 * (limits.slots + 1)),
        plan_slots_(Memory::Kind::gpu, 4 * pieces(limits.slots)),
        scratch_(Memory::Kind::gpu,
                 4 * device::decode_scratch(spec_.attention(0), pieces(limits.slots))),
        results_{Memory(Memory::Kind::pinned, 12 * limits.slots),
                 Memory(Memory::Kind::pinned, 12 * limits.slots)} {
    take_cache();
    all_idle();
    record();
  }
  ~DeviceSteps() override {
    try {
      stream_.wait();               // nothing may be under way in memory that goes back
    } catch (const DeviceError&) {  // was heard of, or nobody is left to hear of it
    }
  }
  DeviceSteps(const DeviceSteps&) = delete;
  DeviceSteps& operator=(const DeviceSteps&) = delete;

  int64_t slots() const override { return limits_.slots; }
  int64_t pages() const override { return pages_; }

  void launch(const StepInput& input) override {
    ensure(launched_ - collected_ < 2, "at most two steps that were not collected");
    parcel_.begin();
    const Chunks chunks = add_chunks(input.chunks);
    add_changes(input);
    const device::WordCopy* copies = parcel_.add(copies_);
    const device::WordWrite* writes = parcel_.add(writes_);
    parcel_.send(stream_);
    for (const auto& [from, to, tokens] : input.copies)
      device::copy_page(layer(0), from, to, stream_.get());
    compute(chunks);
    device::write_words(state_.as<int32_t>(), copies, std::ssize(copies_), writes,
                        std::ssize(writes_), stream_.get());
    if (input.batch > 0) graphs_.at(input.batch).launch(stream_);
    const auto turn = static_cast<size_t>(launched_ % 2);
    device::copy(results_[turn].as<int32_t>(), drawn_.as<int32_t>(), drawn_.size(), stream_);
    done_[turn].record(stream_);
    ++launched_;
  }

  StepDrawn collect() override {
    ensure(collected_ < launched_, "a step to collect");
    const auto turn = static_cast<size_t>(collected_ % 2);
    ++collected_;
    {
      std::optional<pulse::Waiting> waiting;  // for those who compute the other parts
      if (parts_ != nullptr) waiting.emplace("step of a model in parts");
      done_[turn].wait();
    }
    const auto slots = static_cast<size_t>(limits_.slots);
    const auto* ids = results_[turn].as<int32_t>();
    const auto* logprobs = results_[turn].as<float>() + slots;
    return {.ids = {ids, slots}, .logprob = {logprobs, slots}, .plain = {logprobs + slots, slots}};
  }

  void weights_changed() override { decoder_.weights_changed(); }

 private:
  // Prompt tokens, on the GPU.
  struct Chunks {
    int64_t rows = 0, num_spans = 0;
    const int32_t *ids = nullptr, *positions = nullptr, *sequences = nullptr;
    const device::ChunkSpan* spans = nullptr;
    device::PageTable table = {};
  };

  int64_t pieces(int64_t batch) const { return device::decode_pieces(batch, limits_.longest); }

  device::Pages<T> layer(int64_t index) const {
    const int64_t numbers = device::Pages<T>::numbers(spec_.attention(0));
    return {.base = cache_.as<T>() + index * numbers, .stride = spec_.num_hidden_layers * numbers};
  }

  // The pages that are wanted, as far as memory goes; graphs want a little of it too.
  void take_cache() {
    const int64_t page = layer(0).stride * static_cast<int64_t>(sizeof(T));
    const auto available = static_cast<double>(device::free_memory());
    if (limits_.cache_gb * 1e9 > available)
      fail("rollout.kv_cache_gb = ", limits_.cache_gb, ": the GPU has ", available / 1e9,
           " GB left beside the model");
    const double most = limits_.cache_gb > 0 ? limits_.cache_gb * 1e9 : 0.9 * available;
    pages_ = std::min(limits_.pages, static_cast<int64_t>(most) / page);
    if (parts_ != nullptr) pages_ = parts_->least(pages_);  // they plan the same steps
    if (pages_ < 1)
      fail("rollout.kv_cache_gb: a page of the cache has ", static_cast<double>(page) / 1e9,
           " GB, there is room for ", most / 1e9);
    cache_ = Memory(Memory::Kind::gpu, pages_ * page);
  }

  void all_idle() {
    Memory words(Memory::Kind::pinned, state_.size());
    std::fill_n(words.as<int32_t>(), words_.total(), 0);
    std::fill_n(words.as<int32_t>() + words_.position(0), words_.slots, -1);
    device::copy(state_.as<int32_t>(), words.as<int32_t>(), state_.size(), stream_);
    stream_.wait();
  }

  // Every batch once as it is, which loads kernels and chooses algorithms, then into its graph. All
  // slots are idle.
  void record() {
    for (int64_t batch = 1;; batch *= 2) {
      batch = std::min(batch, limits_.slots);
      decode(batch);
      stream_.wait();
      graphs_.try_emplace(batch, stream_, [&] { decode(batch); });
      if (batch == limits_.slots) return;
    }
  }

  // One token for each of the first slots.
  void decode(int64_t batch) {
    CUstream_st* stream = stream_.get();
    auto* words = state_.as<int32_t>();
    const int32_t *ids = words + words_.id(0), *positions = words + words_.position(0);
    const int32_t* counts = words + words_.count(0);
    const device::PageTable table{.pages = words + words_.page(0, 0), .width = words_.width};
    const device::DecodePlan plan{.starts = plan_starts_.as<int32_t>(),
                                  .slots = plan_slots_.as<int32_t>(),
                                  .capacity = pieces(batch)};
    auto* drawn = drawn_.as<int32_t>();
    float* logprob = drawn_.as<float>() + words_.slots;
    float* plain = logprob + words_.slots;
    device::plan_decode(positions, plan, batch, stream);
    decoder_.run(
        ids, batch,
        [&](int64_t index, T* qkv, T* out) {
          const kernels::AttentionShape shape = spec_.attention(index);
          device::rope_append(qkv, positions, nullptr, decoder_.cosine(), decoder_.sine(),
                              layer(index), table, shape, batch, stream);
          device::decode_attention(qkv, positions, layer(index), table, plan, scratch_.as<float>(),
                                   out, shape, batch, stream);
        },
        stream);
    decoder_.logits(logits_.as<float>(), batch, stream);
    const auto* sampling =
        reinterpret_cast<const device::SlotSampling*>(words + words_.sampling(0));
    device::sample(logits_.as<float>(), sampling, counts, positions, drawn, logprob, plain, batch,
                   spec_.vocab_size, stream);
    // The host hears of every token, so nothing is kept here; it also ends responses, by rules that
    // differ from request to request.
    device::advance({.id = words + words_.id(0),
                     .position = words + words_.position(0),
                     .count = words + words_.count(0),
                     .status = reinterpret_cast<device::SlotStatus*>(words + words_.status(0)),
                     .limit = words + words_.limit(0),
                     .room = words + words_.room(0),
                     .running = words + words_.running()},
                    drawn, logprob, plain, batch, stream);
  }

  Chunks add_chunks(const CachedTokens& tokens) {
    Chunks chunks{.rows = std::ssize(tokens.ids), .num_spans = std::ssize(tokens.spans)};
    if (chunks.rows == 0) return chunks;
    sequences_.clear();
    spans_.clear();
    tables_.assign(tokens.spans.size() * static_cast<size_t>(words_.width), 0);
    for (const kernels::PagedSpan& span : tokens.spans) {
      const auto sequence = static_cast<int32_t>(spans_.size());
      spans_.push_back({.sequence = sequence,
                        .first = static_cast<int32_t>(span.first),
                        .count = static_cast<int32_t>(span.count),
                        .row = static_cast<int32_t>(span.row)});
      sequences_.insert(sequences_.end(), static_cast<size_t>(span.count), sequence);
      std::copy_n(span.pages, pages_of(span.first + span.count),
                  tables_.begin() + sequence * words_.width);
    }
    chunks.ids = parcel_.add(tokens.ids);
    chunks.positions = parcel_.add(tokens.positions);
    chunks.sequences = parcel_.add(sequences_);
    chunks.spans = parcel_.add(spans_);
    chunks.table = {.pages = parcel_.add(tables_), .width = words_.width};
    return chunks;
  }

  void compute(const Chunks& chunks) {
    if (chunks.rows == 0) return;
    CUstream_st* stream = stream_.get();
    decoder_.run(
        chunks.ids, chunks.rows,
        [&](int64_t index, T* qkv, T* out) {
          const kernels::AttentionShape shape = spec_.attention(index);
          device::rope_append(qkv, chunks.positions, chunks.sequences, decoder_.cosine(),
                              decoder_.sine(), layer(index), chunks.table, shape, chunks.rows,
                              stream);
          device::chunk_attention(qkv, chunks.spans, chunks.num_spans, layer(index), chunks.table,
                                  out, shape, chunks.rows, stream);
        },
        stream);
  }

  void add_changes(const StepInput& input) {
    copies_.clear();
    writes_.clear();
    const auto write = [&](int64_t to, int32_t value) {
      writes_.push_back({.to = static_cast<int32_t>(to), .value = value});
    };
    for (const auto& [from, to] : input.moves) {
      const auto move = [&](int64_t target, int64_t source) {
        copies_.push_back({static_cast<int32_t>(target), static_cast<int32_t>(source)});
      };
      move(words_.id(to), words_.id(from));
      move(words_.position(to), words_.position(from));
      move(words_.count(to), words_.count(from));
      move(words_.status(to), words_.status(from));
      move(words_.limit(to), words_.limit(from));
      move(words_.room(to), words_.room(from));
      for (int64_t i = 0; i < Words::kSampling; ++i)
        move(words_.sampling(to) + i, words_.sampling(from) + i);
    }
    for (const StepInput::Start& start : input.starts) {
      write(words_.id(start.slot), start.id);
      write(words_.position(start.slot), start.position);
      write(words_.count(start.slot), start.count);
      write(words_.status(start.slot), static_cast<int32_t>(device::SlotStatus::running));
      write(words_.limit(start.slot), start.limit);
      std::array<int32_t, Words::kSampling> sampling;
      std::memcpy(sampling.data(), &start.sampling, sizeof(sampling));
      for (int64_t i = 0; i < Words::kSampling; ++i)
        write(words_.sampling(start.slot) + i, sampling[static_cast<size_t>(i)]);
    }
    for (const auto& [slot, tokens, position] : input.rooms) {
      write(words_.room(slot), tokens);
      write(words_.position(slot), position);
    }
    for (const auto& [slot, place, page] : input.pages) write(words_.page(slot, place), page);
    for (const int32_t slot : input.stops) write(words_.position(slot), -1);
  }

  const ModelSpec spec_;
  Parts* parts_;  // null: the model is whole here
  StepLimits limits_;
  Words words_;
  device::Stream stream_;
  DeviceDecoder<T> decoder_;
  Memory state_;
  Parcel parcel_;
  Memory logits_, drawn_;  // fp32 [slots, V]; ids, log-probabilities and plain ones, [slots] each
  Memory plan_starts_, plan_slots_, scratch_;
  std::array<Memory, 2> results_;  // as drawn_
  std::array<device::Event, 2> done_;
  int64_t pages_ = 0;
  Memory cache_;
  std::map<int64_t, device::Graph> graphs_;  // by batch
  int64_t launched_ = 0, collected_ = 0;
  // Of one call; they keep their memory.
  std::vector<device::WordCopy> copies_;
  std::vector<device::WordWrite> writes_;
  std::vector<int32_t> sequences_, tables_;
  std::vector<device::ChunkSpan> spans_;
};

}  // namespace

std::unique_ptr<StepRunner> make_device_steps(Decoder& decoder, const StepLimits& limits) {
  if (limits.slots > kMostSlots)
    fail("rollout.max_running: ", limits.slots, " responses at a time are more than the ",
         kMostSlots, " of a step on a GPU");
  check_device_draw(decoder.spec());
  if (limits.weights == kernels::WeightFormat::fp32)
    return std::make_unique<DeviceSteps<float>>(decoder, limits);
  ensure(limits.weights != kernels::WeightFormat::int8, "check_device_draw() has passed");
  return std::make_unique<DeviceSteps<Bf16>>(decoder, limits);
}

int64_t device_page_bytes(const ModelSpec& spec, kernels::WeightFormat weights) {
  const int64_t number = weights == kernels::WeightFormat::fp32 ? 4 : 2;
  return number * spec.num_hidden_layers * device::Pages<float>::numbers(spec.attention(0));
}

// As the constructor takes them.
int64_t device_step_bytes(const ModelSpec& spec, const StepLimits& limits) {
  const Words words{.slots = limits.slots, .width = pages_of(limits.longest)};
  const int64_t pieces = device::decode_pieces(limits.slots, limits.longest);
  const int64_t rows = std::max(limits.slots, limits.step_tokens);
  const int64_t decoder = limits.weights == kernels::WeightFormat::fp32
                              ? DeviceDecoder<float>::bytes(spec, limits.longest, rows)
                              : DeviceDecoder<Bf16>::bytes(spec, limits.longest, rows);
  return decoder + parcel_bytes(limits, words) +
         4 * (words.total() + limits.slots * spec.vocab_size + 3 * limits.slots +
              (limits.slots + 1) + pieces + device::decode_scratch(spec.attention(0), pieces));
}

void check_device_draw(const ModelSpec& spec) {
  const int64_t size = spec.head_dim;
  if (size != 64 && size != 80 && size != 96 && size != 128)
    fail("attention heads of ", size,
         " dimensions are not drawn with on a GPU; 64, 80, 96 and 128 "
         "are");
}

}  // namespace vernier
