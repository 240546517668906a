#include "rollout/step_pipeline.h"

#include <algorithm>
#include <utility>

#include "core/base/errors.h"

namespace vernier {

StepPipeline::StepPipeline(Scheduler& scheduler, StepRunner& runner, Listener listener)
    : scheduler_(scheduler),
      runner_(runner),
      listener_(std::move(listener)),
      slots_(static_cast<size_t>(runner.slots())) {
  for (int32_t slot = 0; slot < static_cast<int32_t>(slots_.size()); ++slot) idle_.insert(slot);
}

void StepPipeline::step() {
  const StepPlan plan = scheduler_.plan();
  std::vector<Place> next;
  bool launched = false;
  if (!plan.spans.empty() || !plan.copies.empty() || !slot_of_.empty()) {
    StepInput input = input_of(plan);
    next = seats(plan, input);
    launched = !input.empty();
    if (launched) runner_.launch(input);
  }
  ensure(launched || under_way_, "work for a step, or a step under way");
  const bool before = std::exchange(under_way_, launched);
  const std::vector<Place> places = std::exchange(places_, std::move(next));
  if (before) take_in(places);
  for (const Place& place : places_)
    if (scheduler_.knows(place.sequence))
      scheduler_.expect(place.sequence, at(place.slot).drawn >= at(place.slot).limit);
}

void StepPipeline::drain() {
  if (!std::exchange(under_way_, false)) return;
  places_.clear();
  runner_.collect();
}

// Copies, and prompt tokens. The last known token of a sequence is computed by its slot, which
// draws from it.
StepInput StepPipeline::input_of(const StepPlan& plan) {
  StepInput input;
  input.copies = plan.copies;
  for (const StepPlan::Span& span : plan.spans) {
    const int64_t count = span.draws ? span.count - 1 : span.count;
    if (count == 0) continue;
    const std::span<const int32_t> tokens = scheduler_.tokens(span.sequence);
    input.chunks.add(tokens.subspan(static_cast<size_t>(span.first), static_cast<size_t>(count)),
                     {}, span.first, scheduler_.pages(span.sequence));
  }
  return input;
}

// A slot for every sequence that draws.
std::vector<StepPipeline::Place> StepPipeline::seats(const StepPlan& plan, StepInput& input) {
  ++step_;
  std::vector<Place> places;
  std::vector<size_t> entering;
  for (const StepPlan::Span& span : plan.spans) {
    if (!span.draws) continue;
    const auto found = slot_of_.find(span.sequence);
    if (found == slot_of_.end()) {
      entering.push_back(places.size());
      places.push_back({-1, span.sequence});
      continue;
    }
    at(found->second).step = step_;
    places.push_back({found->second, span.sequence});
  }
  left_.clear();
  for (int32_t slot = 0; slot < std::ssize(slots_); ++slot)
    if (at(slot).sequence >= 0 && at(slot).step != step_) leave(slot);
  for (const size_t i : entering) places[i].slot = enter(places[i].sequence, input);
  close_ranks(std::ssize(places), input);
  int32_t last = -1;
  for (Place& place : places) {
    if (!input.moves.empty()) place.slot = slot_of_.at(place.sequence);
    last = std::max(last, place.slot);
    ++at(place.slot).drawn;
    write_pages(place.slot, input);
    ++at(place.slot).position;
  }
  for (const int32_t slot : left_)
    if (at(slot).sequence < 0) input.stops.push_back(slot);
  input.batch = step_batch(last + 1, runner_.slots());
  return places;
}

void StepPipeline::leave(int32_t slot) {
  slot_of_.erase(at(slot).sequence);
  at(slot).sequence = -1;
  idle_.insert(slot);
  left_.push_back(slot);
}

int32_t StepPipeline::enter(int64_t sequence, StepInput& input) {
  ensure(!idle_.empty(), "a slot for every sequence that draws");
  const int32_t slot = idle_.extract(idle_.begin()).value();
  const std::vector<int32_t>& tokens = scheduler_.tokens(sequence);
  const Rules rules = listener_.rules(sequence);
  ensure(tokens.back() != Scheduler::kUnknown, "a sequence that enters is known");
  at(slot) = {.sequence = sequence,
              .drawn = rules.drawn,
              .limit = rules.limit,
              .position = std::ssize(tokens) - 1,
              .step = step_,
              .fresh = true,
              .pages = {}};
  slot_of_[sequence] = slot;
  input.starts.push_back({.slot = slot,
                          .id = tokens.back(),
                          .position = static_cast<int32_t>(tokens.size()) - 1,
                          .count = static_cast<int32_t>(rules.drawn),
                          .limit = static_cast<int32_t>(rules.limit),
                          .sampling = rules.sampling});
  return slot;
}

// Where a smaller batch would hold all of them, those behind its end move to idle slots in it: the
// last long responses of a step must not pay for slots that nobody uses.
void StepPipeline::close_ranks(int64_t sequences, StepInput& input) {
  const auto batch = static_cast<int32_t>(step_batch(sequences, runner_.slots()));
  for (int32_t from = batch; from < std::ssize(slots_); ++from) {
    if (at(from).sequence < 0) continue;
    const int32_t to = idle_.extract(idle_.begin()).value();
    at(to) = std::exchange(at(from), Slot());
    at(to).fresh = true;
    slot_of_[at(to).sequence] = to;
    idle_.insert(from);
    left_.push_back(from);
    input.moves.push_back({from, to});
  }
}

// The pages that are new, or were exchanged for a copy: those from the token on that is computed.
void StepPipeline::write_pages(int32_t slot, StepInput& input) {
  Slot& one = at(slot);
  const std::vector<int32_t>& pages = scheduler_.pages(one.sequence);
  const int64_t page_tokens = scheduler_.pool().page_tokens();
  const bool grows = pages.size() != one.pages.size();
  size_t place = one.fresh ? 0 : static_cast<size_t>(one.position / page_tokens);
  for (; place < pages.size(); ++place) {
    if (!one.fresh && place < one.pages.size() && one.pages[place] == pages[place]) continue;
    input.pages.push_back({slot, static_cast<int32_t>(place), pages[place]});
  }
  if (grows)
    input.rooms.push_back({.slot = slot,
                           .tokens = static_cast<int32_t>(std::ssize(pages) * page_tokens),
                           .position = static_cast<int32_t>(one.position)});
  if (grows || one.fresh)
    one.pages = pages;
  else
    one.pages.back() = pages.back();
  one.fresh = false;
}

void StepPipeline::take_in(std::span<const Place> places) {
  const StepDrawn drawn = runner_.collect();
  for (const auto& [slot, sequence] : places) {
    if (!scheduler_.knows(sequence)) continue;
    const auto i = static_cast<size_t>(slot);
    listener_.take(sequence,
                   {.id = drawn.ids[i], .logprob = drawn.logprob[i], .sampled = drawn.logprob[i]},
                   drawn.plain[i]);
  }
}

}  // namespace vernier
