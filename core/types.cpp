#include "core/types.h"

#include <array>

#include "core/base/errors.h"

namespace vernier {
namespace {
constexpr std::array kNames = {"stop", "length", "deadline", "aborted"};
}

const char* name_of(FinishReason reason) { return kNames[static_cast<size_t>(reason)]; }

FinishReason finish_reason_from(const std::string& name, const std::string& where) {
  for (size_t i = 0; i < kNames.size(); ++i)
    if (name == kNames[i]) return static_cast<FinishReason>(i);
  fail(where, ": finish_reason '", name, "' is not one of stop, length, deadline, aborted");
}

}  // namespace vernier
