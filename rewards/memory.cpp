#include "rewards/memory.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/base/bytes.h"
#include "core/base/errors.h"

namespace vernier {

template <class Archive, FieldsOf<Note> T>
void fields(Archive& archive, T& note) {
  archive(note.name, note.value, note.prompt);
}

namespace {

constexpr double kNothing = std::numeric_limits<double>::quiet_NaN();  // was there before

double finite(const std::string& name, double value) {
  ensure(std::isfinite(value), cat("a finite number of ", name));
  return value;
}

// The numbers of an object by name.
template <class Map>
void read(const Json& object, Map& into, const std::string& where) {
  if (!object.is_object()) fail(where, ": is not an object of numbers");
  for (const auto& [name, value] : object.items()) {
    if (!value.is_number()) fail(where, ": ", name, ": is not a number");
    into[name] = value.template get<double>();
  }
}

}  // namespace

double RewardMemory::number(const std::string& name, double otherwise) const {
  const auto found = numbers_.find(name);
  return found == numbers_.end() ? otherwise : found->second;
}

std::optional<double> RewardMemory::of_prompt(const std::string& name,
                                              const std::string& prompt) const {
  const auto list = prompts_.find(name);
  if (list == prompts_.end()) return std::nullopt;
  const auto found = list->second.find(prompt);
  if (found == list->second.end()) return std::nullopt;
  return found->second;
}

void RewardMemory::set(const std::string& name, double value) {
  const auto found = numbers_.find(name);
  const bool known = found != numbers_.end();
  if (undo_) undo_->push_back({name, std::nullopt, known ? found->second : kNothing});
  numbers_[name] = finite(name, value);
}

void RewardMemory::set_of_prompt(const std::string& name, const std::string& prompt, double value) {
  if (undo_) undo_->push_back({name, prompt, of_prompt(name, prompt).value_or(kNothing)});
  prompts_[name][prompt] = finite(name, value);
}

void RewardMemory::roll_back() {
  ensure(undo_.has_value(), "a mark to roll back to");
  for (; !undo_->empty(); undo_->pop_back()) {
    const Change& last = undo_->back();
    const bool fresh = std::isnan(last.before);
    if (!last.prompt) {
      if (fresh)
        numbers_.erase(last.name);
      else
        numbers_[last.name] = last.before;
      continue;
    }
    auto& values = prompts_[last.name];
    if (fresh)
      values.erase(*last.prompt);
    else
      values[*last.prompt] = last.before;
    if (values.empty()) prompts_.erase(last.name);
  }
}

Json RewardMemory::state() const {
  if (numbers_.empty() && prompts_.empty()) return nullptr;
  Json prompts = Json::object();
  for (const auto& [name, values] : prompts_) prompts[name] = values;
  return {{"numbers", numbers_}, {"prompts", prompts}};
}

void RewardMemory::restore(const Json& state, const std::string& where) {
  numbers_.clear();
  prompts_.clear();
  undo_.reset();
  if (state.is_null()) return;
  if (!state.is_object() || !state.contains("numbers") || !state.contains("prompts") ||
      !state["prompts"].is_object())
    fail(where, ": is not the memory of a reward");
  read(state["numbers"], numbers_, cat(where, ".numbers"));
  for (const auto& [name, values] : state["prompts"].items())
    read(values, prompts_[name], cat(where, ".prompts.", name));
}

void StepNotes::add(const std::string& reward, int64_t group, std::vector<Note> notes) {
  if (notes.empty()) return;
  const bool fresh = groups_[reward].emplace(group, std::move(notes)).second;
  ensure(fresh, cat("one list of notes of group ", group));
}

void StepNotes::merge(const StepNotes& other) {
  for (const auto& [reward, groups] : other.groups_)
    for (const auto& [group, notes] : groups) add(reward, group, notes);
}

std::string StepNotes::to_bytes() const { return bytes_of(groups_); }

StepNotes StepNotes::from_bytes(std::string_view bytes, const std::string& what) {
  StepNotes out;
  out.groups_ = vernier::from_bytes<decltype(out.groups_)>(bytes, what);
  return out;
}

std::vector<Note> StepNotes::of(const std::string& reward) const {
  std::vector<Note> out;
  const auto found = groups_.find(reward);
  if (found == groups_.end()) return out;
  for (const auto& [group, notes] : found->second)
    out.insert(out.end(), notes.begin(), notes.end());
  return out;
}

NoteSum sum_of(const std::vector<Note>& notes, const std::string& name) {
  NoteSum out;
  for (const Note& note : notes)
    if (note.name == name) {
      out.sum += note.value;
      ++out.count;
    }
  return out;
}

}  // namespace vernier
