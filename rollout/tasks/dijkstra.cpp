// Shortest way in a graph. Question "ab3,ac7,bc2:c=": ways with their lengths, from a to c; answer
// 5.
//
// A state settles the nearest vertex that is not settled yet (of equals the first letter), and
// looks along its ways; it ends with the vertex asked for.
//
// TAIL, class greedy.
#include <algorithm>

#include "core/base/text.h"
#include "rollout/tasks/family.h"

namespace vernier {
namespace {

constexpr int64_t kFar = 1 << 30, kLetters = 26;

const FamilyInfo kInfo = {.name = "dijkstra",
                          .area = "greedy",
                          .unit = "vertices",
                          .tiers = {{{3, 5}, {6, 10}, {11, 20}}},
                          .longest = kLetters,
                          .request =
                              "These are ways between places, with their lengths. How long "
                              "is the shortest way from a to the place behind the colon? "
                              "{problem}"};

char letter(size_t vertex) { return static_cast<char>('a' + vertex); }

using Lengths = std::vector<std::vector<int64_t>>;  // 0: no way

// A random tree, so that all can be reached, and about half as many ways more.
std::string draw_ways(Rng& rng, size_t size, Lengths& ways) {
  std::vector<std::pair<size_t, size_t>> order;
  for (size_t i = 1; i < size; ++i)
    order.emplace_back(static_cast<size_t>(rng.next_below(static_cast<int64_t>(i))), i);
  for (size_t i = 0; i < size / 2 + 1; ++i) {
    const auto a = static_cast<size_t>(rng.next_below(static_cast<int64_t>(size)));
    const auto b = static_cast<size_t>(rng.next_below(static_cast<int64_t>(size)));
    if (a < b) order.emplace_back(a, b);
  }
  std::sort(order.begin(), order.end());
  order.erase(std::unique(order.begin(), order.end()), order.end());
  std::string text;
  for (const auto& [a, b] : order) {
    ways[a][b] = ways[b][a] = 1 + rng.next_below(9);
    text += cat(text.empty() ? "" : ",", letter(a), letter(b), ways[a][b]);
  }
  return text;
}

std::string tentative(const std::vector<int64_t>& distance, const std::vector<bool>& settled) {
  std::string out;
  for (size_t i = 0; i < distance.size(); ++i)
    if (!settled[i] && distance[i] < kFar)
      out += cat(out.empty() ? "" : ",", letter(i), distance[i]);
  return out;
}

Problem draw(Rng& rng, int64_t length, bool with_states) {
  const auto size = static_cast<size_t>(length);
  Lengths ways(size, std::vector<int64_t>(size));
  Problem out;
  const std::string text = draw_ways(rng, size, ways);
  const auto target = static_cast<size_t>(1 + rng.next_below(length - 1));
  out.question = cat(text, ':', letter(target), '=');
  std::vector<int64_t> distance(size, kFar);
  std::vector<bool> settled(size);
  distance[0] = 0;
  while (!settled[target]) {
    size_t nearest = size;
    for (size_t i = 0; i < size; ++i)
      if (!settled[i] && (nearest == size || distance[i] < distance[nearest])) nearest = i;
    const std::string known = with_states ? tentative(distance, settled) : "";
    settled[nearest] = true;
    std::string work;
    for (size_t i = 0; i < size; ++i) {
      if (ways[nearest][i] == 0 || settled[i]) continue;
      const int64_t there = distance[nearest] + ways[nearest][i];
      if (with_states)
        work += cat(work.empty() ? "" : ",", letter(i), distance[nearest], '+', ways[nearest][i],
                    '=', there);
      distance[i] = std::min(distance[i], there);
    }
    if (with_states)
      out.states.push_back({.input = known,
                            .computation = work,
                            .output = cat(letter(nearest), distance[nearest]),
                            .variables = tentative(distance, settled),
                            .remaining = ""});
  }
  out.answer = cat(distance[target]);
  return out;
}

const auto entry = family_entry(kInfo,
                                {"the length of the shortest way in a graph", "", "vertices",
                                 "TAIL (Turing machine imitation), class greedy"},
                                draw);

}  // namespace
}  // namespace vernier
