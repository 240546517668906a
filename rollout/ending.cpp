#include "rollout/ending.h"

#include <algorithm>
#include <set>

#include "core/base/errors.h"
#include "core/text/unicode.h"

namespace vernier {

StopTexts::StopTexts(std::vector<std::string> texts) : texts_(std::move(texts)) {
  for (const std::string& text : texts_) {
    std::vector<int32_t> table(text.size(), 0);
    for (size_t i = 1, matched = 0; i < text.size(); ++i) {
      while (matched > 0 && text[i] != text[matched])
        matched = static_cast<size_t>(table[matched - 1]);
      if (text[i] == text[matched]) ++matched;
      table[i] = static_cast<int32_t>(matched);
    }
    fallback_.push_back(std::move(table));
  }
}

void StopTexts::add(State& state, std::string_view bytes) const {
  state.matched.resize(texts_.size(), 0);
  for (const char byte : bytes)
    for (size_t i = 0; i < texts_.size() && state.found < 0; ++i) {
      int32_t& matched = state.matched[i];
      while (matched > 0 && texts_[i][static_cast<size_t>(matched)] != byte)
        matched = fallback_[i][static_cast<size_t>(matched) - 1];
      if (texts_[i][static_cast<size_t>(matched)] == byte) ++matched;
      if (matched == static_cast<int32_t>(texts_[i].size())) state.found = static_cast<int32_t>(i);
    }
}

bool thinking_is_open(std::span<const int32_t> prompt_ids, int32_t think_start, int32_t think_end) {
  if (think_start < 0) return true;
  bool open = false;
  for (const int32_t id : prompt_ids) open = id == think_start || (open && id != think_end);
  return open;
}

void EndingConfig::bind(Binder& config, int64_t max_completion_length,
                        const std::string& think_end) {
  config.texts("stop", stop, {},
               "a response ends at the first token that completes one of these texts, which stays "
               "in the response; finish_reason stop, flag stop:TEXT");
  for (const std::string& text : stop)
    if (text.empty()) config.error("stop", "\"\" in the list is empty; it would stop everything");
  config.list("stop_token_ids", stop_token_ids, 0, INT32_MAX,
              "a response ends with one of these tokens; finish_reason stop, flag stop_token:ID");
  if (std::set(stop_token_ids.begin(), stop_token_ids.end()).size() != stop_token_ids.size())
    config.error("stop_token_ids", "an id is in the list twice");
  config.number("thinking_budget", thinking_budget, 0, 1 << 24,
                "tokens of thinking after which think_end is forced, 0: none; the forced token is "
                "no part of the loss; flag thinking_budget");
  config.only_if("thinking_budget", !think_end.empty(), "think_end = \"\"");
  if (!think_end.empty() && thinking_budget >= max_completion_length)
    config.error(
        "thinking_budget",
        cat(thinking_budget, " has no effect with max_completion_length = ", max_completion_length,
            ": the response ends before; allowed are 0 to ", max_completion_length - 1));
  config.number("repetition_ngram", repetition_ngram, 0, 4096,
                "a response ends where its last repetition_ngram x repetition_limit tokens repeat "
                "one block of at most repetition_ngram tokens, 0: never; finish_reason length, "
                "flag repetition");
  config.number("repetition_limit", repetition_limit, 2, 1 << 20,
                "blocks of repetition_ngram tokens that are too many in a row");
  config.only_if("repetition_limit", repetition_ngram > 0, "repetition_ngram = 0");
  if (repetition_ngram * repetition_limit > max_completion_length)
    config.error("repetition_ngram",
                 cat(repetition_ngram, " has no effect with repetition_limit = ", repetition_limit,
                     " and max_completion_length = ", max_completion_length,
                     ": no response has their product of tokens; allowed are 0 to ",
                     max_completion_length / repetition_limit));
}

Endings::Endings(const EndingConfig& config, int32_t think_start, int32_t think_end,
                 const Tokenizer& tokenizer)
    : config_(config), think_start_(think_start), think_end_(think_end), stops_(config.stop) {
  if (!stops_.empty()) placed("rollout.stop", [&] { pieces_.emplace(tokenizer); });
}

Endings::State Endings::begin(std::span<const int32_t> prompt_ids) const {
  State state;
  state.open = thinking_is_open(prompt_ids, think_start_, think_end_);
  state.repeats.resize(static_cast<size_t>(config_.repetition_ngram), 0);
  return state;
}

int32_t Endings::forced(const State& state) const {
  const bool over = config_.thinking_budget > 0 && state.open && !state.closed &&
                    state.thought >= config_.thinking_budget;
  return over ? think_end_ : -1;
}

std::optional<Endings::End> Endings::add(State& state, std::span<const int32_t> ids) const {
  const int32_t id = ids.back();
  think(state, id);
  const bool repeated = repeats(state, ids);
  const int32_t stop = stops_.empty() ? -1 : read(state, id);
  const auto& stop_ids = config_.stop_token_ids;
  if (std::find(stop_ids.begin(), stop_ids.end(), id) != stop_ids.end())
    return End{FinishReason::stop, cat("stop_token:", id)};
  if (stop >= 0) return End{FinishReason::stop, cat("stop:", stops_.text(stop))};
  if (repeated) return End{FinishReason::length, "repetition"};
  return std::nullopt;
}

// As set_spans() has it: from the first start tag, where the prompt has not opened it, to the first
// end tag of all.
void Endings::think(State& state, int32_t id) const {
  if (id == think_end_)
    state.closed = true;
  else if (state.open)
    ++state.thought;
  else if (id == think_start_)
    state.open = true;
}

// `repeats` tokens that equal those a period before them, and that period, are one stretch.
bool Endings::repeats(State& state, std::span<const int32_t> ids) const {
  const int64_t most = config_.repetition_ngram * config_.repetition_limit;
  const int64_t size = std::ssize(ids);
  bool out = false;
  for (int64_t period = 1; period <= config_.repetition_ngram && period < size; ++period) {
    int64_t& count = state.repeats[static_cast<size_t>(period) - 1];
    count = ids.back() == ids[static_cast<size_t>(size - 1 - period)] ? count + 1 : 0;
    out = out || count + period >= most;
  }
  return out;
}

// The stop text that is complete with this token, or -1.
int32_t Endings::read(State& state, int32_t id) const {
  const Piece& piece = pieces_->of(id, !state.begun);
  if (piece.nothing) return -1;
  state.begun = true;
  if (piece.byte) {
    read_byte(state, piece);
    const bool whole = !state.broken && state.character.empty();
    return (whole ? state.bytes : state.marks).found;
  }
  if (state.in_run) {
    state.text = !state.broken && state.character.empty() ? state.bytes : state.marks;
    state.in_run = false;
  }
  stops_.add(state.text, piece.text);
  return state.text.found;
}

void Endings::read_byte(State& state, const Piece& piece) const {
  if (!state.in_run) {
    state.bytes = state.marks = state.text;
    state.character.clear();
    state.in_run = true;
    state.broken = false;
  }
  stops_.add(state.bytes, piece.text);
  stops_.add(state.marks, "\uFFFD");
  state.character += piece.text;
  if (character_length(state.character) > 0)
    state.character.clear();
  else if (state.character.size() >= 4)
    state.broken = true;  // no character has more bytes
  if (state.broken) state.character.clear();
}

}  // namespace vernier
