#include "ddpm/serving/http/http_keys.h"

#include <gtest/gtest.h>

#include <fstream>

namespace ddpm {
namespace {

const std::string kFirstKey = "first-key-0123456789";
const std::string kSecondKey = "second-key-0123456789";

int find_key(const HttpHeaders& headers) { return HttpKeys({kFirstKey, kSecondKey}).find(headers); }

TEST(HttpKeysTest, FindsTheKeyInEachOfItsPlaces) {
  EXPECT_EQ(find_key({{"Authorization", "Bearer " + kFirstKey}}), 0);
  EXPECT_EQ(find_key({{"authorization", "bearer " + kSecondKey}}), 1);
  EXPECT_EQ(find_key({{"X-API-Key", kSecondKey}}), 1);
  EXPECT_EQ(find_key({{"x-hf-authorization", "Bearer " + kFirstKey}}), 0);
  EXPECT_EQ(find_key({{"Authorization", "Bearer wrong"}, {"X-Api-Key", kFirstKey}}), 0);
}

TEST(HttpKeysTest, NothingElseIsAKey) {
  for (const std::string& value : std::vector<std::string>{
           std::string(), "Bearer", "Bearer ", "Basic " + kFirstKey, kFirstKey,
           "Bearer  " + kFirstKey, "Bearer " + kFirstKey + " ", "Bearer " + kFirstKey.substr(1),
           "Bearer " + kFirstKey + "0", "Bearer " + std::string(300, 'a')}) {
    EXPECT_EQ(find_key({{"Authorization", value}}), -1) << value;
  }
  EXPECT_EQ(find_key({{"X-Api-Key", ""}}), -1);
  EXPECT_EQ(find_key({}), -1);
  EXPECT_EQ(HttpKeys({}).find({{"X-Api-Key", ""}}), -1);
}

TEST(HttpKeysTest, WeakKeysAreRefused) {
  for (const std::string& key :
       std::vector<std::string>{std::string(), std::string(15, 'a'), std::string(257, 'a'),
                                "has a blank 0123456", std::string("has\na line end 1234")}) {
    EXPECT_THROW(HttpKeys({key}), std::invalid_argument);
  }
}

TEST(HttpKeysTest, SecretsAreEqualOnlyIfAllOfThemIs) {
  EXPECT_TRUE(equal_secrets("abc", "abc"));
  EXPECT_FALSE(equal_secrets("abc", "abd"));
  EXPECT_FALSE(equal_secrets("abc", std::string("abc\0", 4)));
  EXPECT_FALSE(equal_secrets(std::string(257, 'a'), std::string(257, 'a')));
}

TEST(HttpKeysTest, KeyFilesHoldOneALine) {
  const std::string path = testing::TempDir() + "/keys";
  std::ofstream(path) << "# ours\n\n" << kFirstKey << "\r\n" << kSecondKey;
  EXPECT_EQ(read_key_file(path), (std::vector<std::string>{kFirstKey, kSecondKey}));
  std::ofstream(path) << "# none\n";
  EXPECT_THROW(read_key_file(path), std::runtime_error);
  EXPECT_THROW(read_key_file(path + "-absent"), std::runtime_error);
}

}  // namespace
}  // namespace ddpm
