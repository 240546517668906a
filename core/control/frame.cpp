#include "core/control/frame.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "core/base/errors.h"
#include "core/base/files.h"

namespace vernier::control {
namespace {

constexpr std::string_view kMagic = "VERNIER\n";

template <class T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

template <class T>
T get(std::string_view bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

Mac hmac(std::string_view key, std::string_view text) {
  Mac out;
  unsigned int length = 0;
  const auto* made =
      ::HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
             reinterpret_cast<const unsigned char*>(text.data()), text.size(), out.data(), &length);
  ensure(made != nullptr && length == kMacBytes, "an HMAC-SHA256");
  return out;
}

std::string_view text_of(const Mac& mac) {
  return {reinterpret_cast<const char*>(mac.data()), mac.size()};
}

}  // namespace

std::string random_nonce() {
  std::string out(kNonceBytes, '\0');
  if (::RAND_bytes(reinterpret_cast<unsigned char*>(out.data()), static_cast<int>(out.size())) != 1)
    fail_run("the system gives no random numbers");
  return out;
}

std::string hello(std::string_view nonce, uint16_t version) {
  std::string out(kMagic);
  put(out, version);
  out += nonce;
  return out;
}

std::string hello_problem(std::string_view bytes, const std::string& whose) {
  if (bytes.size() < kHelloBytes || bytes.substr(0, kMagic.size()) != kMagic)
    return cat("it does not speak as ", whose, " of Vernier does");
  const auto version = get<uint16_t>(bytes, kMagic.size());
  if (version == kVersion) return "";
  return cat("it speaks version ", version, " of the protocol, this program version ", kVersion,
             ": take the same Vernier on both sides");
}

Mac proof(std::string_view secret, Side side, std::string_view job_nonce,
          std::string_view worker_nonce) {
  return hmac(secret, cat(side == Side::job ? "job " : "worker ", job_nonce, worker_nonce));
}

bool equal(const Mac& mac, std::string_view bytes) {
  return bytes.size() == mac.size() && ::CRYPTO_memcmp(mac.data(), bytes.data(), mac.size()) == 0;
}

Frames::Frames(std::string_view secret, Side from, std::string_view job_nonce,
               std::string_view worker_nonce)
    : key_(hmac(secret, cat("frames of the ", from == Side::job ? "job " : "worker ", job_nonce,
                            worker_nonce))) {}

// Of the number of the frame, its head, and a hash of its payload, which is not copied.
Mac Frames::mac(std::string_view head, std::string_view payload) {
  std::string text;
  put(text, count_++);
  text += head;
  std::string digest(kMacBytes, '\0');
  const int made =
      ::EVP_Digest(payload.data(), payload.size(), reinterpret_cast<unsigned char*>(digest.data()),
                   nullptr, EVP_sha256(), nullptr);
  ensure(made == 1, "a SHA-256");
  return hmac(text_of(key_), text + digest);
}

std::string Frames::write(uint16_t type, std::string_view payload) {
  ensure(payload.size() <= kMaxPayload, "a payload that a frame holds");
  std::string out;
  out.reserve(kHeaderBytes + payload.size());
  put(out, type);
  put(out, kVersion);
  put(out, static_cast<uint32_t>(payload.size()));
  const Mac made = mac(out, payload);
  out += text_of(made);
  out += payload;
  return out;
}

Frames::Header Frames::header(std::string_view bytes) {
  Header out{.type = get<uint16_t>(bytes, 0), .length = get<uint32_t>(bytes, 4), .problem = ""};
  if (const auto version = get<uint16_t>(bytes, 2); version != kVersion)
    out.problem = cat("a frame of version ", version, " of the protocol");
  else if (out.length > kMaxPayload)
    out.problem = cat("a frame of ", out.length, " bytes, of which ", kMaxPayload, " are allowed");
  return out;
}

bool Frames::check(std::string_view header, std::string_view payload) {
  return equal(mac(header.substr(0, 8), payload), header.substr(8, kMacBytes));
}

void check_size(std::string_view payload) {
  if (payload.size() > kMaxPayload)
    fail_run("a message of ", payload.size(), " bytes is more than the ", kMaxPayload,
             " that the control plane carries");
}

std::string read_secret(const std::string& path) {
  struct stat about {};
  if (::stat(path.c_str(), &about) != 0)
    fail(path, ": cannot be read: ", std::strerror(errno), "; it should hold the workers' secret");
  if ((about.st_mode & 077) != 0)
    fail(path, ": is readable for others than its owner (chmod 600), and it holds a secret");
  std::string secret = read_file(path);
  while (!secret.empty() && std::strchr(" \t\r\n", secret.back()) != nullptr) secret.pop_back();
  if (secret.size() < 16)
    fail(path, ": holds a secret of ", secret.size(),
         " bytes; at least 16 are needed, as openssl rand -hex 32 writes");
  return secret;
}

}  // namespace vernier::control
