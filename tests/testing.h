// What several test files need.
#pragma once

#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "core/base/errors.h"
#include "core/base/files.h"
#include "core/base/json.h"
#include "core/base/rng.h"

namespace vernier::testing {

/// A folder that is gone when the test ends.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    static int count = 0;
    path_ = fs::temp_directory_path() / cat("vernier-test-", ::getpid(), "-", count++);
    fs::create_directories(path_);
  }
  ~TemporaryFolder() { fs::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

/// `count` normal numbers of a fixed stream.
template <class T = float>
std::vector<T> normal(int64_t count, uint64_t seed, double mean = 0, double std = 1) {
  Rng rng(seed, Stream::init);
  std::vector<T> out;
  for (int64_t i = 0; i < count; ++i) out.push_back(static_cast<T>(mean + std * rng.next_normal()));
  return out;
}

/// Largest gap. NaN, or another length, fails every bound.
template <class A, class B>
double worst_gap(const A& found, const B& want) {
  if (found.size() != want.size()) return std::numeric_limits<double>::infinity();
  double gap = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    const double one = std::abs(static_cast<double>(found[i]) - static_cast<double>(want[i]));
    if (!(one <= std::numeric_limits<double>::max())) return one;
    gap = std::max(gap, one);
  }
  return gap;
}

/// Largest gap relative to the largest of the wanted values (at least `scale`: results of a
/// cancellation are no larger than the rounding of what cancelled). NaN, or another length, fails
/// every bound.
template <class A, class B>
double worst(const A& found, const B& want, double scale = 1e-3) {
  if (found.size() != want.size()) return std::numeric_limits<double>::infinity();
  double gap = 0;
  for (const auto value : want) scale = std::max(scale, std::abs(static_cast<double>(value)));
  for (size_t i = 0; i < found.size(); ++i) {
    const double difference =
        std::abs(static_cast<double>(found[i]) - static_cast<double>(want[i]));
    if (!(difference <= std::numeric_limits<double>::max())) return difference;
    gap = std::max(gap, difference);
  }
  return gap / scale;
}

/// The message of the UsageError that `run` throws; "" where it throws none.
inline std::string usage_error(const std::function<void()>& run) {
  try {
    run();
  } catch (const UsageError& problem) {
    return problem.what();
  }
  return "";
}

/// A golden file under tests/cases.
inline Json golden(const std::string& name) {
  const std::string path = cat(VERNIER_TEST_CASES, "/", name);
  return Json::parse(read_file(path));
}

}  // namespace vernier::testing
