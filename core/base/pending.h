// Something that has begun and goes on by itself.
#pragma once

namespace vernier {

class Pending {
 public:
  virtual ~Pending() = default;
  /// Waits for its end, once.
  virtual void finish() = 0;
};

}  // namespace vernier
