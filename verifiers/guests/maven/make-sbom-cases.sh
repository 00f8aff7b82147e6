#!/bin/sh
# Builds the cases of bills of materials anew: a small project of several classes, built twice by Maven with the plugins of SPDX and CycloneDX, and documents that
# are not the same or not to be relied on. Needs a JDK 17, Maven with a network, and Python 3.
set -eu
cases=$(cd "$(dirname "$0")" && pwd)/cases
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

case_of() { # NAME: begins a case, which its description follows on standard input
    rm -rf "${cases:?}/$1"
    mkdir -p "$cases/$1/a" "$cases/$1/b"
    cat > "$cases/$1/expected.toml"
}

project() { # FOLDER CLASS...: classes in the order in which their files are made
    folder=$1
    shift
    mkdir -p "$folder/src/main/java/org/example"
    cat > "$folder/pom.xml" <<'E'
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>org.example</groupId>
  <artifactId>demo</artifactId>
  <version>1.0</version>
  <name>demo</name>
  <organization><name>example</name><url>https://example.org</url></organization>
  <licenses><license><name>Apache-2.0</name><url>https://www.apache.org/licenses/LICENSE-2.0.txt</url></license></licenses>
  <properties>
    <maven.compiler.source>17</maven.compiler.source>
    <maven.compiler.target>17</maven.compiler.target>
    <project.build.sourceEncoding>UTF-8</project.build.sourceEncoding>
  </properties>
  <dependencies>
    <dependency><groupId>commons-codec</groupId><artifactId>commons-codec</artifactId><version>1.17.1</version></dependency>
  </dependencies>
  <build>
    <plugins>
      <plugin>
        <groupId>org.cyclonedx</groupId><artifactId>cyclonedx-maven-plugin</artifactId><version>2.8.0</version>
        <executions><execution><phase>package</phase><goals><goal>makeBom</goal></goals></execution></executions>
      </plugin>
      <plugin>
        <groupId>org.spdx</groupId><artifactId>spdx-maven-plugin</artifactId><version>0.7.3</version>
        <executions><execution><phase>package</phase><goals><goal>createSPDX</goal></goals></execution></executions>
      </plugin>
    </plugins>
  </build>
</project>
E
    for class in "$@"; do
        printf 'package org.example;\n\n/** One of them. */\npublic final class %s {}\n' "$class" > "$folder/src/main/java/org/example/$class.java"
    done
}

build() { # FOLDER INTO: builds and collects, with an SPDX document that is named as it is deployed
    (cd "$1" && mvn -q -B ${MVN_OPTIONS:-} clean package)
    cp "$1/pom.xml" "$2/demo-1.0.pom"
    cp "$1/target/demo-1.0.jar" "$2"
    cp "$1/target/site"/*.spdx.json "$2/demo-1.0.spdx.json"
    cp "$1/target/bom.json" "$2/demo-1.0-cyclonedx.json"
    cp "$1/target/bom.xml" "$2/demo-1.0-cyclonedx.xml"
}

case_of spdx-built-twice <<'E'
coordinate = "org.example:demo:1.0"

[check]
verdict = "accepted"
artifacts = [
    "org.example/demo/1.0/demo-1.0-cyclonedx.json",
    "org.example/demo/1.0/demo-1.0-cyclonedx.xml",
    "org.example/demo/1.0/demo-1.0.jar",
    "org.example/demo/1.0/demo-1.0.pom",
    "org.example/demo/1.0/demo-1.0.spdx.json",
]

[compare]
verdict = "same-after"
mentions = ["sbom-build-info", "spdx-build-info", "spdx-order", "spdx-checksums"]
E
twice=$cases/spdx-built-twice
project "$work/one" Alpha Beta Gamma Delta Epsilon
project "$work/another-folder" Epsilon Gamma Beta Delta Alpha
build "$work/one" "$twice/a"
sleep 2
build "$work/another-folder" "$twice/b"

changed() { # NAME VERDICT WORDS FILE: a document of the first build, in B as the Python code on standard input changes its text
    case_of "$1" <<E
[compare]
verdict = "$2"
mentions = [$3]
E
    for side in a b; do cp "$twice/a/demo-1.0.jar" "$twice/a/$4" "$cases/$1/$side"; done
    (echo 'import sys'; echo 'path = sys.argv[1]'; echo 'text = open(path).read()'; cat; echo 'open(path, "w").write(text)') > "$work/change.py"
    python3 "$work/change.py" "$cases/$1/b/$4"
}

spdx=demo-1.0.spdx.json
changed spdx-other-licence different '"demo-1.0.spdx.json", "Apache-2.0", "MIT"' $spdx <<'E'
text = text.replace('"licenseDeclared" : "Apache-2.0"', '"licenseDeclared" : "MIT"', 1)
E
changed spdx-other-file different '"demo-1.0.spdx.json", "Alpha.java", "Alphas.java"' $spdx <<'E'
text = text.replace('Alpha.java', 'Alphas.java', 1)
E
changed spdx-wrong-checksum different '"demo-1.0.spdx.json", "checksumValue"' $spdx <<'E'
at = text.index('"checksumValue" : "') + 19
text = text[:at] + '0' * 40 + text[at + 40:]
E
changed spdx-other-relationship different '"demo-1.0.spdx.json", "DEPENDS_ON"' $spdx <<'E'
assert 'GENERATES' in text
text = text.replace('GENERATES', 'DEPENDS_ON', 1)
E
changed spdx-key-twice undecidable '"occurs twice"' $spdx <<'E'
text = text.replace('"SPDXID"', '"spdxVersion" : "SPDX-2.2",\n  "SPDXID"', 1)
E
changed spdx-too-deep undecidable '"recursion"' $spdx <<'E'
text = text.rstrip()[:-1] + ', "x" : ' + '[' * 200 + ']' * 200 + '}'
E
changed bom-of-another-library different '"demo-1.0-cyclonedx.xml", "1.17.1", "1.17.2"' demo-1.0-cyclonedx.xml <<'E'
text = text.replace('<version>1.17.1</version>', '<version>1.17.2</version>', 1)
E
