#!/bin/sh
# Builds the cases in cases/ anew: outputs of one small project, built twice by real tools under different circumstances, and archives that no
# tool writes. Needs a JDK 17, Maven with a network, Info-ZIP and Python 3. The results differ from run to run; what is expected of them does not.
set -eu
cases=$(cd "$(dirname "$0")" && pwd)/cases
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

case_of() { # NAME: begins a case, which its description follows on standard input
    rm -rf "${cases:?}/$1"
    mkdir -p "$cases/$1/a" "$cases/$1/b"
    cat > "$cases/$1/expected.toml"
}

checksum() { # FILE...: writes the checksum file that Maven would deploy
    for file in "$@"; do sha1sum < "$file" | cut -d' ' -f1 | tr -d '\n' > "$file.sha1"; done
}

pom() { # PACKAGING
    printf '<project xmlns="http://maven.apache.org/POM/4.0.0">\n  <modelVersion>4.0.0</modelVersion>\n  <groupId>org.example</groupId>\n  <artifactId>demo</artifactId>\n'
    printf '  <version>1.0</version>\n  <packaging>%s</packaging>\n' "$1"
    [ $# -lt 2 ] || printf '%s\n' "$2"
    printf '</project>\n'
}

project() { # FOLDER WORD
    mkdir -p "$1/src/main/java/org/example" "$1/src/main/resources"
    pom jar "  <properties><maven.compiler.source>17</maven.compiler.source><maven.compiler.target>17</maven.compiler.target></properties>
  <build><plugins><plugin><artifactId>maven-source-plugin</artifactId><version>3.3.1</version>
    <executions><execution><goals><goal>jar-no-fork</goal></goals></execution></executions></plugin></plugins></build>" > "$1/pom.xml"
    printf 'package org.example;\n\n/** Says %s. */\npublic final class Main {\n    private Main() {}\n\n    /** Says it to nobody. */\n' "$2" > "$1/src/main/java/org/example/Main.java"
    printf '    public static void main(String[] args) {\n        System.out.println("%s");\n    }\n}\n' "$2" >> "$1/src/main/java/org/example/Main.java"
    printf 'greeting=%s\n' "$2" > "$1/src/main/resources/demo.properties"
}

maven() { # FOLDER INTO ARGUMENT...: builds and collects
    (cd "$1" && into=$2 && shift 2 && mvn -q -B -Dproject.build.sourceEncoding=UTF-8 "$@" clean package && cp target/*.jar "$into" && cp pom.xml "$into/demo-1.0.pom")
}

# --- Maven, by two users in two time zones with two umasks, in two folders; the second checked its sources out with other ends of lines.
case_of maven-built-twice <<'E'
coordinate = "org.example:demo:1.0"

[check]
verdict = "accepted"
artifacts = [
    "org.example/demo/1.0/demo-1.0-sources.jar",
    "org.example/demo/1.0/demo-1.0-sources.jar.sha1",
    "org.example/demo/1.0/demo-1.0.jar",
    "org.example/demo/1.0/demo-1.0.jar.sha1",
    "org.example/demo/1.0/demo-1.0.pom",
    "org.example/demo/1.0/demo-1.0.pom.sha1",
]

[compare]
verdict = "same-after"
passes = [
    "zip-order",
    "zip-time",
    "zip-compression",
    "zip-origin",
    "zip-mode",
    "manifest-form",
    "manifest-build-info",
    "pom-properties",
    "pom-lines",
    "checksums",
]
E
twice=$cases/maven-built-twice
project "$work/one" hello
cp -r "$work/one" "$work/another-folder"
(umask 022 && TZ=UTC LC_ALL=C maven "$work/one" "$twice/a" -Duser.name=one)
sleep 2
(umask 002 && TZ=Asia/Tokyo maven "$work/another-folder" "$twice/b" -Duser.name=other -Duser.language=de)
sed -i 's/$/\r/' "$twice/b/demo-1.0.pom"
checksum "$twice"/a/* "$twice"/b/*

# --- The same project with another word in it.
case_of maven-other-source <<'E'
[compare]
verdict = "different"
mentions = ["org/example/Main.class", "demo.properties", "greeting=bye", "demo-1.0-sources.jar"]
E
project "$work/bye" bye
maven "$work/bye" "$cases/maven-other-source/b"
cp "$twice"/a/*.jar "$twice"/a/*.pom "$cases/maven-other-source/a"

# --- The tools of the JDK, Info-ZIP and Python over the same files.
classes=$work/one/target/classes
case_of jar-tool-twice <<'E'
[compare]
verdict = "same-after"
mentions = ["zip-time"]
E
printf 'Main-Class: org.example.Main\nExport-Package: org.example.b,org.example.a\n' > "$work/first.mf"
printf 'Export-Package: org.example.a,org.example.b\nMain-Class: org.example.Main\nBuilt-By: other\n' > "$work/second.mf"
jar --create --file "$cases/jar-tool-twice/a/demo-1.0.jar" --manifest "$work/first.mf" -C "$classes" org -C "$classes" demo.properties
touch -d '2001-02-03 04:05:06' "$classes/demo.properties"
jar --create --no-compress --file "$cases/jar-tool-twice/b/demo-1.0.jar" --manifest "$work/second.mf" -C "$classes" demo.properties -C "$classes" org

case_of zip-tools <<'E'
[compare]
verdict = "same-after"
passes = ["zip-order", "zip-time", "zip-compression", "zip-origin", "zip-mode"]
E
(cd "$classes" && zip -q -9 -r "$cases/zip-tools/a/demo-1.0.jar" org demo.properties)
cp -r "$classes" "$work/writable"
chmod -R g+w "$work/writable"
(cd "$work/writable" && python3 - "$cases/zip-tools/b/demo-1.0.jar" <<'E'
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w", zipfile.ZIP_STORED) as archive:
    for name in ["demo.properties", "org/", "org/example/", "org/example/Main.class"]:
        archive.write(name)
E
)

case_of executable-entry <<'E'
[compare]
verdict = "different"
mentions = ["demo.properties", "mode", "100755", "100644"]
E
cp "$cases/zip-tools/a/demo-1.0.jar" "$cases/executable-entry/a"
chmod 755 "$classes/demo.properties"
(cd "$classes" && zip -q -r "$cases/executable-entry/b/demo-1.0.jar" org demo.properties)
chmod 644 "$classes/demo.properties"

# --- Libraries within a web archive.
case_of war-with-libraries <<'E'
coordinate = "org.example:demo:1.0"

[check]
verdict = "accepted"

[compare]
verdict = "same-after"
mentions = ["manifest-build-info"]
E
for side in a b; do
    mkdir -p "$work/war-$side/WEB-INF/lib"
    cp "$twice/$side/demo-1.0.jar" "$work/war-$side/WEB-INF/lib/"
    jar --create --file "$cases/war-with-libraries/$side/demo-1.0.war" -C "$work/war-$side" WEB-INF
    pom war > "$cases/war-with-libraries/$side/demo-1.0.pom"
done

case_of war-with-another-library <<'E'
[compare]
verdict = "different"
mentions = ["WEB-INF/lib/demo-1.0.jar", "org/example/Main.class", "greeting=bye"]
E
cp "$cases/war-with-libraries/a/demo-1.0.war" "$cases/war-with-another-library/a"
cp "$cases/maven-other-source/b/demo-1.0.jar" "$work/war-b/WEB-INF/lib/"
jar --create --file "$cases/war-with-another-library/b/demo-1.0.war" -C "$work/war-b" WEB-INF

# --- A page of javadoc, made at two times in two languages' dates.
case_of javadoc-pages <<'E'
[compare]
verdict = "same-after"
mentions = ["javadoc-date"]
E
for side in a b; do
    zone=$([ $side = a ] && echo UTC || echo Asia/Tokyo)
    TZ=$zone javadoc -quiet -noindex -notree -nohelp -d "$work/doc-$side" "$work/one/src/main/java/org/example/Main.java" > /dev/null 2>&1
    jar --create --no-manifest --file "$cases/javadoc-pages/$side/demo-1.0-javadoc.jar" -C "$work/doc-$side" org
    sleep 1
done

# --- Gradle's metadata, whose checksums follow the jar.
case_of gradle-module <<'E'
coordinate = "org.example:demo:1.0"

[check]
verdict = "accepted"

[compare]
verdict = "same-after"
mentions = ["module-checksums", "module-build-info"]
E
for side in a b; do
    folder=$cases/gradle-module/$side
    cp "$twice/$side/demo-1.0.jar" "$twice/$side/demo-1.0.pom" "$folder"
    gradle=$([ $side = a ] && echo 8.5 || echo 8.14)
    cat > "$folder/demo-1.0.module" <<E
{
  "formatVersion": "1.1",
  "component": { "group": "org.example", "module": "demo", "version": "1.0", "attributes": { "org.gradle.status": "release" } },
  "createdBy": { "gradle": { "version": "$gradle" } },
  "variants": [
    {
      "name": "apiElements",
      "files": [
        {
          "name": "demo-1.0.jar",
          "url": "demo-1.0.jar",
          "size": $(wc -c < "$folder/demo-1.0.jar"),
          "sha512": "$(sha512sum < "$folder/demo-1.0.jar" | cut -d' ' -f1)",
          "sha256": "$(sha256sum < "$folder/demo-1.0.jar" | cut -d' ' -f1)",
          "sha1": "$(sha1sum < "$folder/demo-1.0.jar" | cut -d' ' -f1)",
          "md5": "$(md5sum < "$folder/demo-1.0.jar" | cut -d' ' -f1)"
        }
      ]
    }
  ]
}
E
done

# --- What no two programs read alike.
odd() { # NAME WORD: a case whose one jar the Python code on standard input writes; WORD is in what is said about it
    case_of "$1" <<E
[compare]
verdict = "undecidable"
mentions = ["$2"]
E
    python3 - "$cases/$1/a/demo-1.0.jar"
    cp "$cases/$1/a/demo-1.0.jar" "$cases/$1/b/"
}

odd entry-twice "same name" <<'E'
import sys, warnings, zipfile
warnings.simplefilter("ignore")
with zipfile.ZipFile(sys.argv[1], "w") as archive:
    archive.writestr("org/example/Main.class", "one")
    archive.writestr("org/example/Main.class", "other")
E
odd entry-upwards "more than one meaning" <<'E'
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w") as archive:
    archive.writestr("../../etc/profile", "x")
E
odd entry-link "link" <<'E'
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w") as archive:
    link = zipfile.ZipInfo("lib.so")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    archive.writestr(link, "/etc/passwd")
E
odd script-in-front "directory" <<'E'
import io, sys, zipfile
inner = io.BytesIO()
with zipfile.ZipFile(inner, "w") as archive:
    archive.writestr("a", "x")
open(sys.argv[1], "wb").write(b"#!/bin/sh\nexec java -jar $0\n" + inner.getvalue())
E
odd bytes-behind "end record" <<'E'
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w") as archive:
    archive.writestr("a", "x")
open(sys.argv[1], "ab").write(b"behind")
E
odd headers-disagree "described differently" <<'E'
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w") as archive:
    archive.writestr("Main.class", "x")
bytes = bytearray(open(sys.argv[1], "rb").read())
bytes[30] = ord("N")
open(sys.argv[1], "wb").write(bytes)
E
odd bomb "times its size" <<'E'
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
    archive.writestr("zeros", bytes(20_000_000))
E
odd zip64-disagrees "" <<'E'
import struct, sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w") as archive:
    with archive.open(zipfile.ZipInfo("a"), "w", force_zip64=True) as entry:
        entry.write(b"x")
bytes = bytearray(open(sys.argv[1], "rb").read())
at = bytes.index(struct.pack("<HHQQ", 1, 16, 1, 1))
bytes[at + 4] = 2
open(sys.argv[1], "wb").write(bytes)
E

# --- What a check refuses.
refused() { # NAME CODE
    case_of "$1" <<E
coordinate = "org.example:demo:1.0"

[check]
verdict = "refused"
code = "$2"
E
    rmdir "$cases/$1/b"
    cp "$twice/a/demo-1.0.jar" "$twice/a/demo-1.0.pom" "$cases/$1/a"
}

refused pom-of-another-package wrong-coordinate
sed -i 's/<artifactId>demo</<artifactId>other</' "$cases/pom-of-another-package/a/demo-1.0.pom"
refused pom-with-entities unreadable
sed -i '1i <!DOCTYPE project [<!ENTITY v "1.0">]>' "$cases/pom-with-entities/a/demo-1.0.pom"
refused pom-of-a-war missing-main-artifact
pom war > "$cases/pom-of-a-war/a/demo-1.0.pom"
rm "$cases/pom-of-a-war/a/demo-1.0.jar"
refused wrong-checksum wrong-checksum
printf '%040d' 0 > "$cases/wrong-checksum/a/demo-1.0.jar.sha1"
refused signature signature-file
printf 'x' > "$cases/signature/a/demo-1.0.jar.asc"
refused sources-with-bytes-behind unreadable
cp "$cases/bytes-behind/a/demo-1.0.jar" "$cases/sources-with-bytes-behind/a/demo-1.0-sources.jar"
