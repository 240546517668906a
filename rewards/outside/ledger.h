// What a reward outside the tree failed at, by cause, and how much of it a run bears.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "rewards/outside/question.h"

namespace vernier {

/// Counts outcomes; from any thread.
class Ledger {
 public:
  /// More than `max_share` · `window` failures among the last `window` responses are too many.
  Ledger(std::string name, double max_share, int64_t window)
      : name_(std::move(name)), max_share_(max_share), window_(window) {}

  void add(const std::vector<Outcome>& outcomes);

  /// Throws RunError with the causes where too many of the last responses failed.
  void check() const;

  /// "asked" and "failed/CAUSE", in responses since the start.
  std::map<std::string, int64_t> counters() const;

 private:
  const std::string name_;
  const double max_share_;
  const int64_t window_;
  mutable std::mutex lock_;
  std::map<std::string, int64_t> total_;
  std::map<std::string, int64_t> recent_;  // failures among the last
  std::deque<std::string> last_;           // their causes; "" of a success
  std::string example_;                    // the last failure in words
};

}  // namespace vernier
