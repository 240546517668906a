// Small story problems, and longer stories of the same problem. Question "Mia has 5 apples. She
// buys
// 3. She eats 2. How many apples does Mia have?="; answer 6.
//
// Round r of a problem has 2 r neutral sentences more, those of the rounds before among them, and
// the same answer: the extension rounds of E-GSM, for CoLeG-E and CoLeG-R (docs/lengths.md). A
// state is one event. The length counts events.
//
// Xu et al., "Can LLMs Solve Longer Math Word Problems Better?" (E-GSM), whose rounds a language
// model writes; here they come from a list.
#include <algorithm>
#include <array>

#include "core/base/text.h"
#include "rollout/tasks/family.h"

namespace vernier {
namespace {

constexpr int64_t kSentencesOfRound = 2, kLargestChange = 20;

const FamilyInfo kInfo = {.name = "story",
                          .area = "story",
                          .unit = "events",
                          .tiers = {{{1, 3}, {4, 6}, {7, 10}}},
                          .request = "{problem}",
                          .num_rounds = 5};

struct Person {
  const char *name, *pronoun;
};
constexpr std::array kPersons = {Person{"Mia", "She"}, Person{"Tom", "He"},  Person{"Ana", "She"},
                                 Person{"Ben", "He"},  Person{"Eva", "She"}, Person{"Leo", "He"}};
constexpr std::array kThings = {"apples", "books", "cards", "coins", "pens", "shells", "stamps"};
constexpr std::array kGains = {"buys", "finds", "wins", "gets"};
constexpr std::array kLosses = {"loses", "sells", "gives away", "drops"};
constexpr std::array kNeutral = {"The sun is shining.",
                                 "A bird sings in a tree.",
                                 "It is a quiet morning.",
                                 "The street is wide and clean.",
                                 "Music plays next door.",
                                 "The wind is mild.",
                                 "A dog sleeps by the door.",
                                 "The kitchen smells of bread.",
                                 "A train passes far away.",
                                 "The clock on the wall is old.",
                                 "Some clouds drift by.",
                                 "The garden is green.",
                                 "A cat looks out of the window.",
                                 "The floor is made of wood.",
                                 "Children play outside.",
                                 "The lamp gives a warm light.",
                                 "The river is calm today.",
                                 "A door opens and closes."};

template <size_t N>
const char* pick(Rng& rng, const std::array<const char*, N>& list) {
  return list[static_cast<size_t>(rng.next_below(N))];
}

// The story with neutral sentences behind some of its own; never behind the question.
std::string told(const std::vector<std::string>& own,
                 const std::vector<std::pair<size_t, const char*>>& neutral, size_t count) {
  std::string out;
  for (size_t i = 0; i < own.size(); ++i) {
    out += cat(i > 0 ? " " : "", own[i]);
    for (size_t k = 0; k < count; ++k)
      if (neutral[k].first == i) out += cat(' ', neutral[k].second);
  }
  return out + "=";
}

Problem draw(Rng& rng, int64_t length, bool with_states) {
  const Person& person = kPersons[static_cast<size_t>(rng.next_below(kPersons.size()))];
  const std::string thing = pick(rng, kThings);
  int64_t value = 2 + rng.next_below(kLargestChange);
  std::vector<std::string> sentences = {cat(person.name, " has ", value, ' ', thing, '.')};
  Problem out;
  for (int64_t i = 0; i < length; ++i) {
    const bool gain = value < 2 || rng.next_below(2) == 0;
    const int64_t change =
        1 + rng.next_below(gain ? kLargestChange : std::min(value, kLargestChange));
    const int64_t next = gain ? value + change : value - change;
    sentences.push_back(
        cat(person.pronoun, ' ', gain ? pick(rng, kGains) : pick(rng, kLosses), ' ', change, '.'));
    if (with_states)
      out.states.push_back({.input = cat(value, ',', change),
                            .computation = cat(value, gain ? '+' : '-', change, '=', next),
                            .output = cat(next),
                            .variables = cat(i + 1),
                            .remaining = cat(length - 1 - i)});
    value = next;
  }
  sentences.push_back(cat("How many ", thing, " does ", person.name, " have?"));
  std::vector<std::pair<size_t, const char*>> neutral;
  for (int64_t i = 0; i < (kInfo.num_rounds - 1) * kSentencesOfRound; ++i)
    neutral.emplace_back(static_cast<size_t>(rng.next_below(std::ssize(sentences) - 1)),
                         pick(rng, kNeutral));
  for (int64_t round = 0; round < kInfo.num_rounds; ++round)
    out.rounds.push_back(told(sentences, neutral, static_cast<size_t>(round * kSentencesOfRound)));
  out.question = out.rounds.front();
  out.answer = cat(value);
  return out;
}

const auto entry = family_entry(kInfo,
                                {"story problems, and longer stories of the same problem", "",
                                 "events", "E-GSM; sentences are ours"},
                                draw);

}  // namespace
}  // namespace vernier
