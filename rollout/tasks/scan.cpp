// SCAN: commands and the actions they stand for. Question "walk left twice and jump="; answer
// "LWLWJ": L and R turn, W walks, J jumps, U runs, O looks.
//
// A state translates one phrase; a command has one or two of them, joined by "and", or by "after",
// which puts the second first. The length counts actions, as the length split does. All 20,910
// commands of SCAN are in the grammar. None has 23, 29, 31, 34, 35, 37 to 39 or 41 to 47 actions.
// The other numbers of actions come equally often within a tier, and so do the commands of each, as
// far as the split allows: of the 128 commands with 48 actions only 6 are for tests, where they
// come half as often as others.
//
// Kazemnejad et al., arXiv:2305.19466, after Lake and Baroni, arXiv:1711.00350 (whose IO alphabet
// is I_WALK and so on).
#include <algorithm>
#include <array>
#include <map>

#include "core/base/text.h"
#include "rollout/tasks/family.h"

namespace vernier {
namespace {

const FamilyInfo kInfo = {.name = "scan",
                          .area = "compositional",
                          .unit = "actions",
                          .tiers = {{{1, 15}, {16, 24}, {25, 48}}},
                          .longest = 48,
                          .request =
                              "Write this command as actions (L and R turn, W walks, J "
                              "jumps, U runs, O looks): {problem}"};

struct Phrase {
  std::string words, actions;
};

// All phrases of the grammar: a verb or a turn, with a direction, a manner and a number of times.
std::vector<Phrase> all_phrases() {
  struct Verb {
    const char *word, *action;
  };
  constexpr std::array<Verb, 5> kVerbs = {
      {{"walk", "W"}, {"look", "O"}, {"run", "U"}, {"jump", "J"}, {"turn", ""}}};
  constexpr std::array<Verb, 2> kSides = {{{"left", "L"}, {"right", "R"}}};
  std::vector<Phrase> once;
  for (const auto& [verb, action] : kVerbs) {
    if (*action != '\0') once.push_back({verb, action});
    for (const auto& [side, turn] : kSides) {
      const std::string step = cat(turn, action);
      once.push_back({cat(verb, ' ', side), step});
      once.push_back({cat(verb, " opposite ", side), cat(turn, step)});
      once.push_back({cat(verb, " around ", side), cat(step, step, step, step)});
    }
  }
  std::vector<Phrase> out(once);
  for (const auto& [words, actions] : once) {
    out.push_back({cat(words, " twice"), cat(actions, actions)});
    out.push_back({cat(words, " thrice"), cat(actions, actions, actions)});
  }
  return out;
}

struct Command {
  const Phrase* first = nullptr;
  const Phrase* second = nullptr;  // null: there is one
  bool after = false;
};

// Commands by the number of their actions.
class Grammar {
 public:
  Grammar() : phrases_(all_phrases()) {
    for (const Phrase& first : phrases_) {
      commands_[std::ssize(first.actions)].push_back({&first});
      for (const Phrase& second : phrases_)
        for (const bool after : {false, true})
          commands_[std::ssize(first.actions) + std::ssize(second.actions)].push_back(
              {&first, &second, after});
    }
  }
  const std::vector<Command>& of_length(int64_t length) const { return commands_.at(length); }

  // Numbers of actions that commands have.
  std::vector<int64_t> lengths() const {
    std::vector<int64_t> out;
    for (const auto& [length, commands] : commands_) out.push_back(length);
    return out;
  }

 private:
  std::vector<Phrase> phrases_;
  std::map<int64_t, std::vector<Command>> commands_;
};

const Grammar& grammar() {
  static const Grammar instance;
  return instance;
}

Problem draw(Rng& rng, int64_t length, bool with_states) {
  const std::vector<Command>& commands = grammar().of_length(length);
  const Command& command = commands[static_cast<size_t>(rng.next_below(std::ssize(commands)))];
  Problem out;
  out.question = command.first->words;
  std::vector<const Phrase*> order = {command.first};
  if (command.second != nullptr) {
    out.question += cat(command.after ? " after " : " and ", command.second->words);
    order.insert(command.after ? order.begin() : order.end(), command.second);
  }
  out.question += "=";
  for (size_t i = 0; i < order.size(); ++i) {
    out.answer += order[i]->actions;
    if (with_states)
      out.states.push_back({.input = order[i]->words,
                            .computation = "",
                            .output = order[i]->actions,
                            .variables = "",
                            .remaining = i + 1 < order.size() ? order[i + 1]->words : ""});
  }
  return out;
}

const TaskRegistry::Entry entry{"scan",
                                {"SCAN commands as actions", "", "actions",
                                 "arXiv:2305.19466, after Lake and Baroni, arXiv:1711.00350"},
                                [](Binder& config) {
                                  FamilyInfo info = kInfo;
                                  info.lengths = grammar().lengths();
                                  return family_task(config, info, draw);
                                }};

}  // namespace
}  // namespace vernier
