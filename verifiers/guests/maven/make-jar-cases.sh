#!/bin/sh
# Builds those cases in cases/ that are about particular kinds of jars: multi-release, signed, bootable, enterprise, shaded, with generated files. Begins with the jars
# that `make-cases.sh` left in cases/maven-built-twice and cases/maven-other-source. Needs a JDK 17, a JDK 25 in JDK_25, Info-ZIP and Python 3; no network.
set -eu
cases=$(cd "$(dirname "$0")" && pwd)/cases
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
twice=$cases/maven-built-twice
other=$cases/maven-other-source

case_of() { # NAME: begins a case, which its description follows on standard input
    rm -rf "${cases:?}/$1"
    mkdir -p "$cases/$1/a" "$cases/$1/b"
    cat > "$cases/$1/expected.toml"
}

same() { # NAME WORDS: a case whose sides are the same after passes, with these words in the report
    case_of "$1" <<C
[compare]
verdict = "same-after"
mentions = [$2]
C
}

different() { # NAME WORDS
    case_of "$1" <<C
[compare]
verdict = "different"
mentions = [$2]
C
}

classes() { # FOLDER WORD [JDK [RELEASE]]: compiles a class that says the word
    mkdir -p "$1/source/org/example" "$1/classes"
    printf 'package org.example;\n\npublic final class Main {\n    public static void main(String[] args) {\n        System.out.println("%s");\n    }\n}\n' \
        "$2" > "$1/source/org/example/Main.java"
    "${3:+$3/bin/}javac" --release "${4:-17}" -d "$1/classes" "$1/source/org/example/Main.java"
}

# --- The same source by two JDKs: the manifest tells, whether the class does or not.
different other-jdk '"META-INF/MANIFEST.MF", "Build-Jdk-Spec", "17", "25"'
for side in a b; do
    spec=$([ $side = a ] && echo 17 || echo 25)
    jdk=$([ $side = a ] || echo "$JDK_25")
    classes "$work/jdk-$side" hello "$jdk"
    printf 'Build-Jdk-Spec: %s\n' "$spec" > "$work/jdk.mf"
    jar --create --file "$cases/other-jdk/$side/demo-1.0.jar" --manifest "$work/jdk.mf" -C "$work/jdk-$side/classes" .
done

# --- Classes for newer machines.
same multi-release '"zip-time"'
different multi-release-other-version '"META-INF/versions/21/org/example/Main.class", "content"'
classes "$work/base" hello
classes "$work/newer" hello "$JDK_25" 21
classes "$work/newer-bye" bye "$JDK_25" 21
release() { "$JDK_25/bin/jar" --create --file "$1" -C "$work/base/classes" . --release 21 -C "$2/classes" .; }
release "$cases/multi-release/a/demo-1.0.jar" "$work/newer"
cp "$cases/multi-release/a/demo-1.0.jar" "$cases/multi-release-other-version/a"
sleep 2
find "$work/base/classes" "$work/newer/classes" -exec touch -d '2001-02-03 04:05:06' {} +
release "$cases/multi-release/b/demo-1.0.jar" "$work/newer"
release "$cases/multi-release-other-version/b/demo-1.0.jar" "$work/newer-bye"

# --- Signed jars: a signature is content, whoever made it.
different signed-and-not '"META-INF/KEY.SF", "only in A", "META-INF/MANIFEST.MF"'
different signed-by-another '"META-INF/KEY.RSA", "content"'
for key in one other; do
    keytool -genkeypair -keystore "$work/$key.p12" -storepass changeit -alias key -keyalg RSA -keysize 2048 -dname "CN=$key" > /dev/null 2>&1
    cp "$twice/a/demo-1.0.jar" "$work/signed-$key.jar"
    jarsigner -keystore "$work/$key.p12" -storepass changeit "$work/signed-$key.jar" key > /dev/null 2>&1
done
cp "$work/signed-one.jar" "$cases/signed-and-not/a/demo-1.0.jar"
cp "$twice/a/demo-1.0.jar" "$cases/signed-and-not/b"
cp "$work/signed-one.jar" "$cases/signed-by-another/a/demo-1.0.jar"
cp "$work/signed-other.jar" "$cases/signed-by-another/b/demo-1.0.jar"

# --- Archives in archives, stored as a bootable jar needs them, and three deep.
same bootable-jar '"zip-time", "pom-properties"'
different bootable-jar-with-another-library '"BOOT-INF/lib/demo-1.0.jar", "org/example/Main.class", "content"'
boot() { # JAR INTO TIME
    python3 - "$@" <<'P'
import sys, time, zipfile
library, into, moment = sys.argv[1], sys.argv[2], int(sys.argv[3])
entries = {
    "META-INF/MANIFEST.MF": b"Manifest-Version: 1.0\r\nMain-Class: org.example.boot.Launcher\r\nStart-Class: org.example.Main\r\n"
    b"Spring-Boot-Classes: BOOT-INF/classes/\r\nSpring-Boot-Lib: BOOT-INF/lib/\r\n\r\n",
    "BOOT-INF/classes/application.properties": b"server.port=8080\n",
    "BOOT-INF/classpath.idx": b'- "BOOT-INF/lib/demo-1.0.jar"\n',
    "BOOT-INF/lib/demo-1.0.jar": open(library, "rb").read(),
}
with zipfile.ZipFile(into, "w") as archive:
    for name, content in entries.items():
        info = zipfile.ZipInfo(name, time.gmtime(moment)[:6])
        info.compress_type = zipfile.ZIP_STORED if name.endswith(".jar") else zipfile.ZIP_DEFLATED
        archive.writestr(info, content)
P
}
boot "$twice/a/demo-1.0.jar" "$cases/bootable-jar/a/demo-1.0.jar" 1000000000
boot "$twice/b/demo-1.0.jar" "$cases/bootable-jar/b/demo-1.0.jar" 1700000000
boot "$twice/a/demo-1.0.jar" "$cases/bootable-jar-with-another-library/a/demo-1.0.jar" 1000000000
boot "$other/b/demo-1.0.jar" "$cases/bootable-jar-with-another-library/b/demo-1.0.jar" 1000000000

same enterprise-archive '"zip-time", "pom-properties"'
for side in a b; do
    mkdir -p "$work/war-$side/WEB-INF/lib" "$work/ear-$side"
    cp "$twice/$side/demo-1.0.jar" "$work/war-$side/WEB-INF/lib/"
    jar --create --file "$work/ear-$side/web.war" -C "$work/war-$side" WEB-INF
    jar --create --file "$cases/enterprise-archive/$side/demo-1.0.ear" -C "$work/ear-$side" web.war
done

# --- Names that a file system without regard to case confuses, as jars that are made of several have them.
entries() { # INTO TIME NAME...: a jar of these entries, each with its name as its content
    python3 - "$@" <<'P'
import sys, time, zipfile
with zipfile.ZipFile(sys.argv[1], "w") as archive:
    for name in sys.argv[3:]:
        archive.writestr(zipfile.ZipInfo(name, time.gmtime(int(sys.argv[2]))[:6]), name)
P
}
same names-in-two-cases '"zip-order", "zip-time"'
entries "$cases/names-in-two-cases/a/demo-1.0.jar" 1000000000 META-INF/LICENSE META-INF/license/LICENSE.base64.txt a/a.class a/A.class x
entries "$cases/names-in-two-cases/b/demo-1.0.jar" 1700000000 x META-INF/LICENSE META-INF/license/LICENSE.base64.txt a/a.class a/A.class
different names-in-two-cases-reordered '"order of names that are one on some file systems", "a/A.class, a/a.class"'
entries "$cases/names-in-two-cases-reordered/a/demo-1.0.jar" 1000000000 a/a.class a/A.class
entries "$cases/names-in-two-cases-reordered/b/demo-1.0.jar" 1000000000 a/A.class a/a.class

# --- What plugins generate: of the commit's properties the builder is forgiven, of others nothing is.
file() { # CASE SIDE NAME: a jar of one file, which comes on standard input
    mkdir -p "$work/file/$(dirname "$3")"
    cat > "$work/file/$3"
    (cd "$work/file" && zip -q -X -r "$cases/$1/$2/demo-1.0.jar" "$3")
    rm -r "$work/file"
}
commit() { # CASE SIDE COMMIT HOST
    printf '#%s\ngit.commit.id=%s\ngit.build.host=%s\ngit.build.time=%s\ngit.dirty=false\n' "$(date)" "$3" "$4" "$(date)" | file "$1" "$2" git.properties
}
same commit-built-elsewhere '"git-properties"'
commit commit-built-elsewhere a 0a1b2c one
sleep 1
commit commit-built-elsewhere b 0a1b2c other
different another-commit '"git.properties", "git.commit.id=0a1b2c", "git.commit.id=3d4e5f"'
commit another-commit a 0a1b2c one
commit another-commit b 3d4e5f one
different build-info '"META-INF/build-info.properties", "build.time"'
printf 'build.time=2026-01-01T00\\:00\\:00Z\nbuild.version=1.0\n' | file build-info a META-INF/build-info.properties
printf 'build.time=2026-01-02T00\\:00\\:00Z\nbuild.version=1.0\n' | file build-info b META-INF/build-info.properties
different services '"META-INF/services/org.example.Api", "org.example.Two", "org.example.One"'
printf 'org.example.One\norg.example.Two\n' | file services a META-INF/services/org.example.Api
printf 'org.example.Two\norg.example.One\n' | file services b META-INF/services/org.example.Api

# --- Pages of javadoc in another language.
different javadoc-in-another-language '"Main.html"'
for side in a b; do
    language=$([ $side = a ] && echo en || echo ja)
    javadoc -J-Duser.language=$language -quiet -noindex -notree -nohelp -d "$work/doc-$side" "$work/base/source/org/example/Main.java" > /dev/null 2>&1
    jar --create --no-manifest --file "$cases/javadoc-in-another-language/$side/demo-1.0-javadoc.jar" -C "$work/doc-$side" org
done

# --- Files beside the jar.
jar=$twice/a/demo-1.0.jar
same checksum-forms '"checksums"'
for side in a b; do cp "$jar" "$cases/checksum-forms/$side"; done
(cd "$cases/checksum-forms/a" && for sum in md5 sha1 sha256 sha512; do ${sum}sum demo-1.0.jar > demo-1.0.jar.$sum; done)
(cd "$cases/checksum-forms/b" && for sum in md5 sha1 sha256 sha512; do ${sum}sum < demo-1.0.jar | cut -d' ' -f1 | tr a-f A-F > demo-1.0.jar.$sum; done)

pom() { # CASE SIDE DEPENDENCY...
    into=$cases/$1/$2/demo-1.0.pom
    shift 2
    printf '<project>\n  <groupId>org.example</groupId>\n  <artifactId>demo</artifactId>\n  <version>1.0</version>\n  <dependencies>\n' > "$into"
    for name in "$@"; do
        printf '    <dependency><groupId>org.example</groupId><artifactId>%s</artifactId><version>1</version></dependency>\n' "$name" >> "$into"
    done
    printf '  </dependencies>\n</project>\n' >> "$into"
}
different order-of-dependencies '"demo-1.0.pom", "<artifactId>one", "<artifactId>other"'
pom order-of-dependencies a one other
pom order-of-dependencies b other one

bom() { # CASE SIDE NUMBER LIBRARY
    printf '{"bomFormat":"CycloneDX","specVersion":"1.5","serialNumber":"urn:uuid:%s","metadata":{"timestamp":"2026-01-0%sT00:00:00Z"},"components":[{"name":"%s"}]}\n' \
        "$3" "$3" "$4" > "$cases/$1/$2/demo-1.0-cyclonedx.json"
}
same bill-of-materials '"sbom-build-info"'
bom bill-of-materials a 1 library
bom bill-of-materials b 2 library
different another-component '"demo-1.0-cyclonedx.json", "library", "another"'
bom another-component a 1 library
bom another-component b 1 another

module() { # CASE SIDE VERSION
    printf '{\n  "formatVersion": "1.1",\n  "component": { "group": "org.example", "module": "demo", "version": "1.0" },\n  "variants": [\n    { "name": "api", "dependencies": [\n      { "group": "g", "module": "m", "version": { "requires": "%s" } } ] }\n  ]\n}\n' \
        "$3" > "$cases/$1/$2/demo-1.0.module"
}
different module-with-another-dependency '"demo-1.0.module", "line 6", "1.1", "1.2"'
module module-with-another-dependency a 1.1
module module-with-another-dependency b 1.2
