// What goes over a connection of the control plane, byte by byte.
//
//   worker <- job     "VERNIER\n", version (2), nonce (32)
//   worker -> job     "VERNIER\n", version (2), nonce (32), HMAC of both nonces (32)
//   worker <- job     HMAC of both nonces (32)
//   then both ways    type (2), version (2), length (4), HMAC (32), payload
//
// HMAC is HMAC-SHA256, a frame's over its number, head, and the SHA-256 of its payload. The
// greeting's is under the shared secret; the frames' are under a key of each direction that is made
// from secret and nonces, and count the frames: one that is repeated, left out, changed or sent
// back does not fit. Numbers are little-endian. Nothing is encrypted.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace vernier::control {

constexpr uint16_t kVersion = 2;
constexpr size_t kMaxPayload = size_t{512} << 20;
constexpr size_t kNonceBytes = 32, kMacBytes = 32, kHelloBytes = 8 + 2 + kNonceBytes,
                 kAnswerBytes = kHelloBytes + kMacBytes, kHeaderBytes = 8 + kMacBytes;

using Mac = std::array<unsigned char, kMacBytes>;

/// Throws RunError where there are no random numbers.
std::string random_nonce();

/// "VERNIER\n", version, nonce.
std::string hello(std::string_view nonce, uint16_t version = kVersion);

/// What is wrong with a greeting of the other side; "" where nothing is. `whose`: who it came from.
std::string hello_problem(std::string_view bytes, const std::string& whose);
inline std::string_view nonce_of(std::string_view hello) { return hello.substr(10, kNonceBytes); }

enum class Side { job, worker };

/// That `side` knows the secret.
Mac proof(std::string_view secret, Side side, std::string_view job_nonce,
          std::string_view worker_nonce);
/// In a time that does not depend on where they differ.
bool equal(const Mac& mac, std::string_view bytes);

/// Writes or checks the frames of one direction, in order.
class Frames {
 public:
  /// `from`: who sends them.
  Frames(std::string_view secret, Side from, std::string_view job_nonce,
         std::string_view worker_nonce);

  /// A frame with its header. The payload is at most kMaxPayload bytes, see check_size().
  std::string write(uint16_t type, std::string_view payload);

  struct Header {
    uint16_t type = 0;
    size_t length = 0;
    std::string problem;  // "" where there is none
  };
  /// `bytes` has kHeaderBytes.
  static Header header(std::string_view bytes);
  /// Whether the payload is what the header's HMAC was made for, as the next frame.
  bool check(std::string_view header, std::string_view payload);

 private:
  Mac mac(std::string_view head, std::string_view payload);

  Mac key_;
  uint64_t count_ = 0;
};

/// RunError where a payload is too long for a frame.
void check_size(std::string_view payload);

/// The secret in a file: its bytes, less white space at the end. UsageError where it is missing,
/// shorter than 16 bytes, or readable for others than its owner.
std::string read_secret(const std::string& path);

}  // namespace vernier::control
