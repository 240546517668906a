// What the endpoint counts, as Prometheus reads it.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "rollout/service.h"

namespace vernier {

/// Seconds, counted up to bounds.
class Histogram {
 public:
  void add(double seconds);
  void print(const std::string& name, const std::string& help, std::string& out) const;

 private:
  static constexpr std::array<double, 14> kBounds = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                                                     1,     2.5,  5,     10,   30,  60,   300};
  std::array<int64_t, kBounds.size()> counts_ = {};  // of each bound alone
  int64_t total_ = 0;
  double sum_ = 0;
};

/// From any thread.
class Counters {
 public:
  void answered(const std::string& route, int status);
  void rejected(const std::string& reason);
  void cancelled();
  void prompt_tokens(int64_t count);
  void first_token(double seconds);
  void finished(double seconds);

  /// Prometheus' text format, version 0.0.4.
  std::string text(const ServiceStats& service, int64_t weight_version) const;

 private:
  mutable std::mutex lock_;
  std::map<std::pair<std::string, int>, int64_t> answers_;
  std::map<std::string, int64_t> rejections_;
  int64_t cancelled_ = 0, prompt_tokens_ = 0;
  Histogram first_token_, whole_;
};

}  // namespace vernier
