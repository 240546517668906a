// Values as bytes and back, for what processes tell each other. Little-endian, lengths before
// lists; no form of its own for a type: who writes and who reads go through the same fields.
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/base/errors.h"

namespace vernier {

static_assert(std::endian::native == std::endian::little, "bytes are written as they lie");

/// What `fields(archive, value)`, the one list of a type's fields, is given: the type to be
/// written, or to be read.
template <class T, class Type>
concept FieldsOf = std::same_as<std::remove_const_t<T>, Type>;

class ByteWriter {
 public:
  template <class... T>
  void operator()(const T&... values) {
    (write(values), ...);
  }
  const std::string& bytes() const { return bytes_; }
  std::string take() { return std::move(bytes_); }

 private:
  template <class T>
  void write(const T& value) {
    if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T>)
      bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    else
      fields(*this, value);
  }
  void write(const std::string& text) {
    write(uint64_t{text.size()});
    bytes_ += text;
  }
  template <class T>
  void write(const std::vector<T>& list) {
    write(uint64_t{list.size()});
    if constexpr (std::is_arithmetic_v<T>)
      bytes_.append(reinterpret_cast<const char*>(list.data()), list.size() * sizeof(T));
    else
      for (const T& one : list) write(one);
  }
  template <class T>
  void write(const std::optional<T>& value) {
    write(value.has_value());
    if (value) write(*value);
  }
  template <class A, class B>
  void write(const std::pair<A, B>& value) {
    (*this)(value.first, value.second);
  }
  template <class K, class V>
  void write(const std::map<K, V>& map) {
    write(uint64_t{map.size()});
    for (const auto& [key, value] : map) (*this)(key, value);
  }

  std::string bytes_;
};

/// Throws RunError, opened by `what`, where bytes are missing, or left in finish().
class ByteReader {
 public:
  ByteReader(std::string_view bytes, std::string what) : left_(bytes), what_(std::move(what)) {}

  template <class... T>
  void operator()(T&... values) {
    (read(values), ...);
  }
  void finish() const {
    if (!left_.empty()) fail_run(what_, ": ", left_.size(), " bytes more than it should have");
  }
  bool done() const { return left_.empty(); }

 private:
  const char* take(uint64_t count) {
    if (count > left_.size())
      fail_run(what_, ": ", left_.size(), " bytes where ", count, " should follow");
    const char* begin = left_.data();
    left_.remove_prefix(static_cast<size_t>(count));
    return begin;
  }
  // Every entry takes `least` bytes or more: a length that lies asks for no memory.
  size_t length(size_t least) {
    uint64_t count = 0;
    read(count);
    if (count > left_.size() / least)
      fail_run(what_, ": a list of ", count, " entries in ", left_.size(), " bytes");
    return static_cast<size_t>(count);
  }

  template <class T>
  void read(T& value) {
    if constexpr (std::is_same_v<T, bool>) {
      const char byte = *take(1);
      if (byte != 0 && byte != 1) fail_run(what_, ": a truth value of ", static_cast<int>(byte));
      value = byte == 1;
    } else if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T>) {
      std::memcpy(&value, take(sizeof value), sizeof value);
    } else {
      fields(*this, value);
    }
  }
  void read(std::string& text) {
    const size_t count = length(1);
    text.assign(take(count), count);
  }
  template <class T>
  void read(std::vector<T>& list) {
    if constexpr (std::is_arithmetic_v<T>) {
      list.resize(length(sizeof(T)));
      if (!list.empty())
        std::memcpy(list.data(), take(list.size() * sizeof(T)), list.size() * sizeof(T));
    } else {
      list.clear();
      const size_t count = length(1);
      for (size_t i = 0; i < count; ++i) read(list.emplace_back());
    }
  }
  template <class T>
  void read(std::optional<T>& value) {
    bool there = false;
    read(there);
    value.reset();
    if (there) read(value.emplace());
  }
  template <class A, class B>
  void read(std::pair<A, B>& value) {
    (*this)(value.first, value.second);
  }
  template <class K, class V>
  void read(std::map<K, V>& map) {
    map.clear();
    const size_t count = length(1);
    for (size_t i = 0; i < count; ++i) {
      K key{};
      read(key);
      read(map[key]);
    }
  }

  std::string_view left_;
  std::string what_;
};

template <class T>
std::string bytes_of(const T& value) {
  ByteWriter writer;
  writer(value);
  return writer.take();
}

/// `what` names the bytes in an error.
template <class T>
T from_bytes(std::string_view bytes, const std::string& what) {
  ByteReader reader(bytes, what);
  T value{};
  reader(value);
  reader.finish();
  return value;
}

}  // namespace vernier
