// SCAN: commands and the actions they stand for. Question "walk left twice and jump="; answer
// "LWLWJ": L and R turn, W walks, J jumps, U runs, O looks.
//
// A state translates one phrase; a command has one or two of them, joined by "and", or by "after",
// which puts the second first. The length counts actions, as the length split does. All 20,910
// commands of SCAN are in the grammar; within a tier they are drawn evenly.
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
      commands_[first.actions.size()].push_back({&first});
      for (const Phrase& second : phrases_)
        for (const bool after : {false, true})
          commands_[first.actions.size() + second.actions.size()].push_back(
              {&first, &second, after});
    }
  }
  // Those of the nearest number of actions that has some.
  const std::vector<Command>& of_length(int64_t length) const {
    const auto found = commands_.lower_bound(static_cast<size_t>(length));
    return found == commands_.end() ? std::prev(found)->second : found->second;
  }

 private:
  std::vector<Phrase> phrases_;
  std::map<size_t, std::vector<Command>> commands_;
};

Problem draw(Rng& rng, int64_t length, bool with_states) {
  static const Grammar grammar;
  const std::vector<Command>& commands = grammar.of_length(length);
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

const auto entry = family_entry(kInfo,
                                {"SCAN commands as actions", "", "actions",
                                 "arXiv:2305.19466, after Lake and Baroni, arXiv:1711.00350"},
                                draw);

}  // namespace
}  // namespace vernier
