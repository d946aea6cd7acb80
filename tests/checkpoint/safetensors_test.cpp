#include "ddpm/checkpoint/safetensors.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <random>
#include <stdexcept>

#include "checkpoint/safetensors_bytes.h"
#include "ddpm/core/file.h"
#include "support/run_python.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing::message_of;
using testing::run_python;
using testing::safetensors_bytes;

fs::path temp_file(const std::string& name) { return fs::path(::testing::TempDir()) / name; }

/// One tensor of every type, an empty one, a scalar and a name that JSON must escape.
NamedTensors every_type() {
  NamedTensors tensors;
  for (const auto dtype : {at::kBool, at::kByte, at::kChar, at::kShort, at::kInt, at::kLong,
                           at::kHalf, at::kBFloat16, at::kFloat, at::kDouble}) {
    const Tensor values = at::arange(6).reshape({2, 3}) - (dtype == at::kByte ? 0 : 2);
    tensors.emplace_back(std::string("t.") + c10::toString(dtype), values.to(dtype));
  }
  tensors.emplace_back("empty", at::empty({0, 3}));
  tensors.emplace_back("scalar", at::scalar_tensor(-0.0));
  tensors.emplace_back("quote\" slash\\ tab\t caf\xc3\xa9", at::full({1}, 7, at::kLong));
  return tensors;
}

Tensor by_name(const NamedTensors& tensors, const std::string& name) {
  for (const auto& [key, tensor] : tensors) {
    if (key == name) return tensor;
  }
  ADD_FAILURE() << "no tensor '" << name << "'";
  return {};
}

void expect_same(const NamedTensors& got, const NamedTensors& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (const auto& [name, tensor] : expected) {
    const Tensor other = by_name(got, name);
    ASSERT_EQ(other.scalar_type(), tensor.scalar_type()) << name;
    EXPECT_TRUE(at::equal(other, tensor)) << name;
  }
}

TEST(SafetensorsTest, EveryTypeComesBackCopiedOrMapped) {
  const auto path = temp_file("every_type.safetensors");
  write_safetensors(path, every_type(), {{"format", "pt"}, {"note", "caf\xc3\xa9"}});
  for (const auto storage : {TensorStorage::kCopied, TensorStorage::kMapped}) {
    const auto file = read_safetensors(path, storage);
    expect_same(file.tensors, every_type());
    EXPECT_EQ(file.metadata.at("note"), "caf\xc3\xa9");
  }
  expect_same(parse_safetensors(read_binary_file(path), "memory").tensors, every_type());
}

TEST(SafetensorsTest, BytesAreTheOnesThatTheFormatPrescribes) {
  const auto path = temp_file("golden.safetensors");
  write_safetensors(path, {{"b", at::full({1}, 1.0F)}, {"a", at::full({2}, 2, at::kByte)}},
                    {{"format", "pt"}});
  const std::string json =
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
      R"("a":{"dtype":"U8","shape":[2],"data_offsets":[4,6]}})";
  std::string expected("\x90\0\0\0\0\0\0\0", 8);
  expected += json + std::string(0x90 - json.size(), ' ');
  expected += std::string("\0\0\x80\x3f\x02\x02", 6);
  EXPECT_EQ(read_text_file(path), expected);
}

TEST(SafetensorsTest, BytesDoNotDependOnTheOrderOrTheMemoryLayout) {
  const auto one = temp_file("order_1.safetensors");
  const auto two = temp_file("order_2.safetensors");
  const Tensor a = at::arange(2 * 3 * 4 * 5, at::kFloat).reshape({2, 3, 4, 5});
  const Tensor b = at::arange(6, at::kFloat).reshape({2, 3});
  write_safetensors(one, {{"a", a}, {"b", b}});
  write_safetensors(
      two, {{"b", b.t().contiguous().t()}, {"a", a.contiguous(at::MemoryFormat::ChannelsLast)}});
  EXPECT_EQ(read_text_file(one), read_text_file(two));
}

TEST(SafetensorsTest, TensorsThatRequireGradientsAreWritten) {
  const auto path = temp_file("grad.safetensors");
  write_safetensors(path, {{"w", at::ones({2}).requires_grad_()}});
  EXPECT_TRUE(at::equal(read_safetensors(path).tensors[0].second, at::ones({2})));
}

TEST(SafetensorsTest, TensorsOfAGpuAreCopiedWhenWritten) {
  if (!at::hasCUDA()) GTEST_SKIP() << "needs a CUDA device";
  const auto path = temp_file("cuda.safetensors");
  const Tensor values = at::arange(24, at::kFloat).reshape({1, 2, 3, 4});
  write_safetensors(path, {{"w", values.to(at::kCUDA).contiguous(at::MemoryFormat::ChannelsLast)}});
  EXPECT_TRUE(at::equal(read_safetensors(path).tensors[0].second, values));
}

TEST(SafetensorsTest, MappedTensorsOutliveTheFile) {
  const auto path = temp_file("mapped.safetensors");
  write_safetensors(path, {{"w", at::arange(1000, at::kFloat)}});
  const Tensor mapped = read_safetensors(path, TensorStorage::kMapped).tensors[0].second;
  write_safetensors(path, {{"w", at::zeros({1000})}});  // takes the name, not the old file
  fs::remove(path);
  EXPECT_TRUE(at::equal(mapped, at::arange(1000, at::kFloat)));
}

TEST(SafetensorsTest, MisalignedTensorsOfOtherWritersAreReadWhenMapped) {
  auto bytes = safetensors_bytes(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4);
  bytes[bytes.size() - 1] = 0x3f;
  bytes[bytes.size() - 2] = 0x80;
  ASSERT_NE((bytes.size() - 4) % 4, 0u);
  const auto path = temp_file("misaligned.safetensors");
  write_file_atomic(path, bytes);
  EXPECT_EQ(read_safetensors(path, TensorStorage::kMapped).tensors[0].second.item<float>(), 1.0F);
}

TEST(SafetensorsTest, BoolBytesOtherThanZeroAndOneAreRefused) {
  auto bytes = safetensors_bytes(R"({"a":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]}})", 1);
  bytes.back() = 2;
  EXPECT_THAT(message_of<std::runtime_error>([&] { parse_safetensors(bytes, "x"); }),
              HasSubstr("tensor 'a' in 'x': expected BOOL bytes 0 or 1, got 2"));
}

TEST(SafetensorsTest, WriterRefusesWhatTheFormatLacks) {
  const auto path = temp_file("refused.safetensors");
  const Tensor one = at::ones({1});
  const auto refusal = [&](const NamedTensors& tensors) {
    return message_of<std::invalid_argument>([&] { write_safetensors(path, tensors); });
  };
  EXPECT_THAT(refusal({{"a", one}, {"a", one}}), HasSubstr("'a' twice"));
  EXPECT_THAT(refusal({{"", one}}), HasSubstr("got ''"));
  EXPECT_THAT(refusal({{"__metadata__", one}}), HasSubstr("__metadata__"));
  EXPECT_THAT(refusal({{"a", Tensor()}}), HasSubstr("undefined"));
  EXPECT_THAT(refusal({{"a", one.to(at::kComplexFloat)}}), HasSubstr("tensor 'a'"));
  EXPECT_THAT(refusal({{"a", one.to_sparse()}}), HasSubstr("layout"));
  EXPECT_THAT(refusal({{"\xff", one}}), HasSubstr("UTF-8"));
  EXPECT_FALSE(fs::exists(path));
}

TEST(SafetensorsTest, PathsThatCannotBeWrittenAreNamed) {
  const fs::path path = "/dev/full/x.safetensors";
  EXPECT_THAT(message_of<std::runtime_error>([&] { write_safetensors(path, {}); }),
              HasSubstr("/dev/full/x.safetensors"));
}

TEST(SafetensorsTest, MissingFilesAreNamed) {
  EXPECT_THAT(message_of<std::runtime_error>([] { read_safetensors("/nowhere/x.safetensors"); }),
              HasSubstr("/nowhere/x.safetensors"));
}

/// Damaged anywhere, a file is either refused with a sentence or still a sound file.
TEST(SafetensorsTest, MutatedFilesNeverCrash) {
  const auto path = temp_file("mutated.safetensors");
  write_safetensors(path, every_type(), {{"format", "pt"}});
  const auto sound = read_binary_file(path);
  std::mt19937 random(1);
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  int refused = 0;
  for (int trial = 0; trial < 500; ++trial) {
    auto bytes = sound;
    for (std::size_t edit = 0; edit <= below(3); ++edit) {
      const std::size_t at = below(trial % 2 == 0 ? bytes.size() : 700);
      switch (below(4)) {
        case 0:
          bytes[at] ^= static_cast<std::uint8_t>(1U << below(8));
          break;
        case 1:
          bytes[at] = static_cast<std::uint8_t>("09-[]{},:\" e"[below(12)]);
          break;
        case 2:
          bytes.erase(bytes.begin() + static_cast<std::ptrdiff_t>(at));
          break;
        case 3:
          bytes.resize(at + 1);
          break;
      }
      if (bytes.size() < 700) break;
    }
    try {
      for (const auto& [name, tensor] : parse_safetensors(bytes, "mutated").tensors) {
        EXPECT_LE(tensor.nbytes(), sound.size());
      }
    } catch (const std::runtime_error& error) {
      EXPECT_THAT(error.what(), HasSubstr("mutated"));
      ++refused;
    }
  }
  EXPECT_GT(refused, 250);
}

TEST(SafetensorsTest, PythonReadsWhatWeWriteAndWritesTheSameBytes) {
  const auto ours = temp_file("ours.safetensors");
  const auto theirs = temp_file("theirs.safetensors");
  write_safetensors(ours, every_type(), {{"format", "pt"}});
  run_python({DDPM_SOURCE_DIR "/tests/checkpoint/safetensors_copy.py", ours, theirs});
  EXPECT_EQ(read_text_file(ours), read_text_file(theirs));
  expect_same(read_safetensors(theirs).tensors, every_type());
}

}  // namespace
}  // namespace ddpm
