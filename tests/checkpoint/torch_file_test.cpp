#include "ddpm/checkpoint/torch_file.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <random>
#include <stdexcept>

#include "checkpoint/safetensors_bytes.h"
#include "checkpoint/torch_file_bytes.h"
#include "ddpm/checkpoint/safetensors.h"
#include "ddpm/core/file.h"
#include "support/run_python.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::message_of;

/// The files that PyTorch wrote, once for all tests.
class TorchFileTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = fs::path(::testing::TempDir()) / "torch_files";
    fs::create_directories(folder_);
    testing::run_python({DDPM_SOURCE_DIR "/tests/checkpoint/torch_file_write.py", folder_});
  }
  static void TearDownTestSuite() { fs::remove_all(folder_); }

  static fs::path file(const std::string& name) { return folder_ / name; }

  static std::string refusal(const std::string& name, const std::string& key = "") {
    return message_of<std::invalid_argument>([&] { read_torch_file(file(name), key); });
  }

  static std::vector<std::string> every_layout(const std::string& name) {
    std::vector<std::string> names;
    for (const char* layout : {"zip", "legacy"}) {
      for (const char* protocol : {"2", "3", "4", "5"}) {
        names.push_back(name + "_" + layout + "_" + protocol + ".pth");
      }
    }
    return names;
  }

 private:
  static inline fs::path folder_;
};

std::map<std::string, Tensor> by_name(const NamedTensors& tensors) {
  return {tensors.begin(), tensors.end()};
}

const std::map<std::string, Tensor>& plain() {
  static const std::map<std::string, Tensor> tensors{{"w", at::arange(6.0).reshape({2, 3})},
                                                     {"b", at::ones({2})}};
  return tensors;
}

void expect_same(const NamedTensors& got, const std::map<std::string, Tensor>& expected) {
  const auto given = by_name(got);
  ASSERT_EQ(given.size(), expected.size());
  for (const auto& [name, tensor] : expected) {
    ASSERT_TRUE(given.contains(name)) << name;
    const Tensor& other = given.at(name);
    EXPECT_EQ(other.scalar_type(), tensor.scalar_type()) << name;
    EXPECT_TRUE(other.is_contiguous()) << name;
    EXPECT_TRUE(at::equal(other, tensor)) << name;
  }
}

TEST_F(TorchFileTest, EveryViewAndTypeIsReadFromEveryLayoutAndProtocol) {
  const auto expected = by_name(read_safetensors(file("everything.safetensors")).tensors);
  for (const auto& name : every_layout("everything")) {
    SCOPED_TRACE(name);
    const NamedTensors tensors = read_torch_file(file(name));
    expect_same(tensors, expected);
    EXPECT_EQ(tensors.front().first, "whole");
    EXPECT_EQ(tensors.back().first, "größe");
  }
}

TEST_F(TorchFileTest, StateDictIsFoundBesideNumbersContainersAndAnOptimizer) {
  for (const auto& name : every_layout("training")) {
    SCOPED_TRACE(name);
    expect_same(read_torch_file(file(name)), plain());
    expect_same(read_torch_file(file(name), "model_state_dict"), plain());
  }
}

TEST_F(TorchFileTest, KeyChoosesAmongStateDicts) {
  EXPECT_THAT(refusal("two.pth"), AllOf(HasSubstr("two.pth"), HasSubstr("'model' 'ema/shadow'")));
  EXPECT_THAT(refusal("two.pth", "ema"), HasSubstr("one of 'model' 'ema/shadow', got 'ema'"));
  EXPECT_THAT(refusal("plain.pth", "ema"), HasSubstr("the file is one state dict, got 'ema'"));
  expect_same(read_torch_file(file("two.pth"), "model"), plain());
  EXPECT_TRUE(
      at::equal(by_name(read_torch_file(file("two.pth"), "ema/shadow")).at("b"), at::zeros({2})));
}

TEST_F(TorchFileTest, PrefixesOfWrappersAreTakenOffWhereAllNamesHaveThem) {
  expect_same(read_torch_file(file("parallel.pth")), plain());
  expect_same(read_torch_file(file("compiled.pth")), plain());
  EXPECT_TRUE(by_name(read_torch_file(file("half_parallel.pth"))).contains("module.w"));
}

TEST_F(TorchFileTest, FilesWithoutChecksumsAreRead) {
  expect_same(read_torch_file(file("no_crc.pth")), plain());
}

TEST_F(TorchFileTest, ArchivesOfOtherWritersAreRead) {
  for (const char* name : {"rezipped.pth", "zip64.pth", "no_byteorder.pth", "commented.pth"}) {
    SCOPED_TRACE(name);
    expect_same(read_torch_file(file(name)), plain());
  }
}

TEST_F(TorchFileTest, BadArchivesAreRefusedByWhatIsWrong) {
  const std::vector<std::pair<const char*, const char*>> cases{
      {"deflated.pth", "got compressed ones (method 8)"},
      {"encrypted.pth", "got encrypted ones"},
      {"big_endian.pth", "byteorder: expected little, got 'big'"},
      {"no_pickle.pth", "expected a data.pkl, as torch.save writes it, got none"},
      {"two_pickles.pth", "expected one data.pkl, got several"},
      {"behind_pickle.pth", "got 2 bytes behind it"},
      {"no_storage.pth", "expected 'any name/data/1', got none"},
      {"short_storage.pth", "storage '0': expected 6 of Float, got 20 bytes"},
      {"odd_storage.pth", "storage '0': expected 6 of Float, got 23 bytes"},
      {"twice.pth", "got 'any name/data/0' twice"}};
  for (const auto& [name, reason] : cases) {
    EXPECT_THAT(message_of<std::runtime_error>([&] { read_torch_file(file(name)); }),
                AllOf(HasSubstr(name), HasSubstr(reason)));
  }
}

TEST_F(TorchFileTest, PickledNetworksAreRefusedByTheirClass) {
  for (const auto& name : every_layout("module")) {
    EXPECT_THAT(refusal(name), AllOf(HasSubstr(name), HasSubstr("class __main__.SimpleUnet"),
                                     HasSubstr("state_dict()")));
  }
  EXPECT_THAT(refusal("script.pth"), HasSubstr("class __torch__."));
}

TEST_F(TorchFileTest, OtherContentIsRefusedByWhatItIs) {
  EXPECT_THAT(refusal("tensor.pth"), HasSubstr("got a tensor"));
  EXPECT_THAT(refusal("no_tensors.pth"), HasSubstr("got a dict of 'epoch' 'losses'"));
  EXPECT_THAT(refusal("beside.pth"), HasSubstr("got tensors beside 'step'"));
  EXPECT_THAT(refusal("empty.pth"), HasSubstr("got an empty dict"));
  EXPECT_THAT(refusal("complex.pth"), HasSubstr("torch.ComplexFloatStorage"));
  EXPECT_THAT(refusal("uint16.pth"), HasSubstr("torch._utils._rebuild_tensor_v3"));
  EXPECT_THAT(refusal("quantized.pth"), HasSubstr("torch._utils._rebuild_qtensor"));
}

TEST_F(TorchFileTest, ExpandedTensorsCannotFillTheMemory) {
  EXPECT_THAT(message_of<std::runtime_error>([&] { read_torch_file(file("expanded_bomb.pth")); }),
              HasSubstr("tensor 'bomb': expected at most"));
}

TEST_F(TorchFileTest, FilesCutAnywhereAreRefused) {
  for (const char* name : {"linear.pth", "training_legacy_2.pth", "training_legacy_5.pth"}) {
    const auto whole = read_binary_file(file(name));
    for (std::size_t size = 0; size < whole.size(); ++size) {
      ASSERT_THAT(message_of<std::runtime_error>([&] {
                    parse_torch_file({whole.data(), size}, "cut");
                  }),
                  HasSubstr("cut"))
          << name << " at " << size;
    }
  }
}

/// Damaged anywhere, a file is refused with a sentence, or it is still a sound file.
TEST_F(TorchFileTest, MutatedFilesNeverCrash) {
  std::mt19937 random(5);
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  int refused = 0;
  for (int trial = 0; trial < 1500; ++trial) {
    // Without checksums, so that the damage is looked at.
    const char* names[] = {"no_crc.pth", "training_legacy_2.pth", "training_legacy_4.pth"};
    auto bytes = read_binary_file(file(names[trial % 3]));
    const std::size_t end = bytes.size();
    for (std::size_t edit = 0; edit <= below(3); ++edit) {
      const std::size_t at = below(end);
      if (below(2) == 0)
        bytes[at] ^= static_cast<std::uint8_t>(1U << below(8));
      else
        bytes[at] = static_cast<std::uint8_t>("()]}.019uesQRbhqt\x80\x85\x94\xff"[below(21)]);
    }
    try {
      std::size_t size_bytes = 0;
      for (const auto& [name, tensor] : parse_torch_file(bytes, "mutated")) {
        size_bytes += tensor.nbytes();
      }
      EXPECT_LE(size_bytes, (std::size_t{16} << 20) + 4 * end);
    } catch (const std::invalid_argument& error) {
      EXPECT_THAT(error.what(), HasSubstr("mutated"));
      ++refused;
    } catch (const std::runtime_error& error) {
      EXPECT_THAT(error.what(), HasSubstr("mutated"));
      ++refused;
    }
  }
  EXPECT_GT(refused, 500);
}

TEST_F(TorchFileTest, DamagedStoragesAreFoundByTheirChecksum) {
  auto bytes = read_binary_file(file("plain.pth"));
  const float two = 2;
  const auto* first = reinterpret_cast<const std::uint8_t*>(&two);
  const auto at = std::search(bytes.begin(), bytes.end(), first, first + sizeof(two));
  ASSERT_NE(at, bytes.end());
  *at ^= 1;
  EXPECT_THAT(message_of<std::runtime_error>([&] { parse_torch_file(bytes, "x.pth"); }),
              AllOf(HasSubstr("x.pth"), HasSubstr("data/0"), HasSubstr("CRC-32")));
}

TEST_F(TorchFileTest, MissingFilesAreNamed) {
  EXPECT_THAT(message_of<std::runtime_error>([] { read_torch_file("/nowhere/x.pth"); }),
              HasSubstr("/nowhere/x.pth"));
}

}  // namespace
}  // namespace ddpm
