#!/bin/sh
# Builds the cases in cases/ anew: images of one small context, built twice by the docker engine and packed by skopeo, and what is made of them by hand. Needs root, a
# docker engine with its classic builder (DOCKER_HOST), skopeo, zstd and Python 3; no network. The results differ from run to run; what is expected of them does not.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cases=$here/cases
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export DOCKER_BUILDKIT=0

case_of() { # NAME: begins a case, which its description follows on standard input
    rm -rf "${cases:?}/$1"
    mkdir -p "$cases/$1/a" "$cases/$1/b"
    cat > "$cases/$1/expected.toml"
}

context() { # FOLDER: a context as somebody checks it out
    mkdir -p "$1/app/share"
    printf 'hello\n' > "$1/app/greeting"
    seq 1 400 > "$1/app/share/numbers"
    printf '#!/bin/sh\nexec /app/serve\n' > "$1/app/run"
    chmod u=rwX,go=rX "$1/app" "$1/app/share" "$1/app/greeting" "$1/app/share/numbers"
    chmod 755 "$1/app/run"
    ln -s share/numbers "$1/app/numbers"
    cat > "$1/Dockerfile" <<'D'
FROM scratch
LABEL org.example.revision=1
ENV GREETING=hello
COPY app /app/
COPY app/greeting /etc/greeting
EXPOSE 8080
USER 1000:1000
WORKDIR /app
ENTRYPOINT ["/app/run"]
CMD ["--quiet"]
D
}

build() { # CONTEXT NAME: builds it, without the cache, and leaves it as an OCI layout $work/NAME and in Docker's own format in $work/NAME.docker
    docker build --quiet --no-cache --network none --tag "case:$2" "$1" > /dev/null 2>&1
    rm -rf "${work:?}/$2" "$work/$2.docker"
    engine=${DOCKER_HOST:-unix:///var/run/docker.sock}
    skopeo copy --quiet --src-daemon-host "$engine" "docker-daemon:case:$2" "oci:$work/$2:x"
    skopeo copy --quiet --src-daemon-host "$engine" --dest-compress "docker-daemon:case:$2" "dir:$work/$2.docker"
    docker image rm --force "case:$2" > /dev/null
}

repack() { # NAME AS ARGUMENT...: the same image with its layers compressed anew
    rm -rf "${work:?}/$2" "$work/unpacked"
    from=$1 to=$2
    shift 2
    skopeo copy --quiet --dest-decompress "oci:$work/$from:x" "dir:$work/unpacked"
    skopeo copy --quiet --dest-compress "$@" "dir:$work/unpacked" "oci:$work/$to:x"
}

output() { # NAME FOLDER: an OCI layout, or a folder of skopeo's, as a build gives it
    python3 "$here/output-of-layout.py" "$work/$1" "$2"
}

same() { # CASE A B PASSES: a case whose sides are the same after these passes
    case_of "$1" <<C
coordinate = "demo:1"

[check]
verdict = "accepted"

[compare]
verdict = "same-after"
passes = [$4]
C
    output "$2" "$cases/$1/a"
    output "$3" "$cases/$1/b"
}

different() { # CASE A B WORDS: a case whose report has these words
    case_of "$1" <<C
[compare]
verdict = "different"
mentions = [$4]
C
    output "$2" "$cases/$1/a"
    output "$3" "$cases/$1/b"
}

# --- Twice by the docker engine, from two checkouts at two times.
context "$work/checkout"
build "$work/checkout" first
sleep 2
context "$work/a/longer/path/to/another-checkout"
touch -d '2001-02-03 04:05:06' "$work/a/longer/path/to/another-checkout/app/greeting"
build "$work/a/longer/path/to/another-checkout" second
same built-twice first second '"tar-time", "created", "references"'
same built-twice-docker-format first.docker second.docker '"tar-time", "created", "builder-records", "references"'

context "$work/other-checkout"
printf 'hallo\n' > "$work/other-checkout/app/greeting"
build "$work/other-checkout" other

# --- One image, its layers compressed by another level or method.
repack first fast --dest-compress-format gzip --dest-compress-level 1
repack first best --dest-compress-format gzip --dest-compress-level 9
repack first zstd --dest-compress-format zstd --dest-compress-level 3
repack first zstd-other --dest-compress-format zstd --dest-compress-level 1
repack second zstd-second --dest-compress-format zstd --dest-compress-level 1
repack first zstd-window --dest-compress-format zstd --dest-compress-level 19
same gzip-levels fast best '"gzip-header", "compression", "references"'
same zstd-levels zstd zstd-other '"compression", "references"'
same gzip-and-zstd fast zstd '"gzip-header", "compression-method", "references"'
same gzip-and-zstd-built-twice best zstd-second '"gzip-header", "compression-method", "tar-time", "created", "references"'
repack other other-zstd --dest-compress-format zstd --dest-compress-level 3
different zstd-with-other-content fast other-zstd '"layer 1", "app/greeting", "content"'
# The encoder's higher levels ask readers for a window of 16 or 32 MiB; RFC 8878 recommends to read 8, and a guest has no room for more.
case_of zstd-window <<'C'
[compare]
verdict = "undecidable"
mentions = ["window"]
C
output fast "$cases/zstd-window/a"
output zstd-window "$cases/zstd-window/b"

# --- What is never forgiven, one thing at a time.
variant() { # CASE WORDS COMMANDS: the first image against one built after the commands changed the context
    rm -rf "$work/variant"
    context "$work/variant"
    (cd "$work/variant" && eval "$3")
    build "$work/variant" variant
    different "$1" first variant "$2"
}
different other-content first other '"layer 1", "app/greeting", "content"'
variant other-umask '"layer 1", "app/greeting", "mode", "0644", "0664"' 'chmod g+w app/greeting'
variant executable '"layer 1", "app/greeting", "mode"' 'chmod +x app/greeting'
variant other-owner '"layer 1", "user id", "group id"' "sed -i 's,COPY app /app/,COPY --chown=5:6 app /app/,' Dockerfile"
variant link-target '"layer 1", "app/numbers", "link target", "share/numbers", "/etc/passwd"' 'ln -sf /etc/passwd app/numbers'
variant layer-order '"layer 1", "layer 2"' "sed -i '/^COPY app /{h;d};/^COPY app.greeting/{G}' Dockerfile"
variant entrypoint '"Entrypoint", "/app/other"' "sed -i 's,/app/run,/app/other,' Dockerfile"
variant environment '"Env", "GREETING=bye"' "sed -i 's,GREETING=hello,GREETING=bye,' Dockerfile"
variant user '"User", "1000:1000", "0:0"' "sed -i 's,1000:1000,0:0,' Dockerfile"
variant label '"Labels", "org.example.revision"' "sed -i 's,revision=1,revision=2,' Dockerfile"

# --- By hand: indexes, removals, what a copy of the classic builder loses, and layers that programs read in more than one way.
python3 "$here/made-by-hand.py" "$cases" "$work"
