#include "ddpm/core/sha256.h"

#include <gtest/gtest.h>

#include <system_error>
#include <vector>

#include "ddpm/core/file.h"

namespace ddpm {
namespace {

TEST(Sha256Test, MatchesNistExamples) {  // FIPS 180-4 example values
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256_hex("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmno"
                       "ijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu"),
            "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
  EXPECT_EQ(sha256_hex(std::string(1'000'000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256Test, PartsGiveWhatTheWholeGives) {
  std::vector<uint8_t> bytes(300);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * 7);
  for (size_t length = 0; length <= 200; ++length) {
    const std::span<const uint8_t> whole(bytes.data(), length);
    for (const size_t part : {size_t{1}, size_t{13}, size_t{64}, size_t{65}}) {
      Sha256 hash;
      for (size_t at = 0; at < length; at += part) {
        hash.update(whole.subspan(at, std::min(part, length - at)));
      }
      ASSERT_EQ(hash.finish_hex(), sha256_hex(whole)) << length << " bytes by " << part;
    }
  }
}

TEST(Sha256Test, PortableCodeGivesWhatTheProcessorsInstructionsGive) {
  std::vector<uint8_t> bytes(1000);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * i + 3);
  for (size_t length = 0; length <= bytes.size(); length += 37) {
    Sha256 portable(/*use_instructions=*/false);
    portable.update({bytes.data(), length});
    ASSERT_EQ(portable.finish_hex(), sha256_hex(std::span<const uint8_t>(bytes.data(), length)))
        << length << " bytes";
  }
}

TEST(Sha256Test, HashesAFile) {
  const std::string path = ::testing::TempDir() + "sha256_test.bin";
  write_file_atomic(path, "abc");
  EXPECT_EQ(sha256_file(path), sha256_hex("abc"));
  EXPECT_THROW(sha256_file(path + ".missing"), std::system_error);
}

}  // namespace
}  // namespace ddpm
