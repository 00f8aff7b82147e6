#!/bin/sh
# Makes the layers of this folder: one tree, built several times over and packed by several programs. Run as root, in this folder.
# Needs GNU tar, busybox, python3, go, gzip, zstd.
set -eu
here=$(pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
long="$(printf 'd%.0s' $(seq 60))/$(printf 'e%.0s' $(seq 60))/$(printf 'f%.0s' $(seq 90))"

# Builds the tree in $1, under the umask $2, with files made in the order of `sort $3`.
build() {
    (
        umask "$2"
        mkdir -p "$1" && cd "$1"
        mkdir -p etc usr/bin usr/lib var/empty "$(dirname "$long")"
        printf 'alpha\nbeta\ngamma\n' | sort $3 | while read -r name; do
            seq 1 40 | sed "s/^/$name /" > "usr/lib/$name"
        done
        echo 'root:x:0:0::/root:/bin/sh' > etc/passwd
        printf '#!/bin/sh\nexec true\n' > usr/bin/tool
        ln usr/bin/tool usr/bin/another-name
        chmod 4755 usr/bin/tool
        chmod 1777 var/empty
        ln -s ../usr/lib/alpha etc/alpha
        ln -s "/$long" usr/bin/long-link
        echo long > "$long"
        : > etc/.wh.removed
        printf 'umlaut\n' > 'usr/lib/ümlaut'
        mkfifo var/pipe
        chown 101:202 usr/lib/beta
        chown -h 7:8 etc/alpha
    )
}

build "$work/a" 022 ""
sleep 1
build "$work/much/longer/path/b" 022 "-r"
build "$work/c" 027 ""
a="$work/a" b="$work/much/longer/path/b" c="$work/c"
touch -d 2001-02-03 "$b/usr/lib/gamma" "$b/etc"

tar -C "$a" --format=gnu -cf - . | gzip -9n > gnu.tar.gz
tar -C "$b" --format=gnu --sort=name -cf "$work/named" . && gzip -1c "$work/named" > gnu-sorted-named.tar.gz
tar -C "$b" --format=posix -cf - . | gzip -6 > posix.tar.gz
tar -C "$b" --format=posix --mtime=@0 --numeric-owner --sort=name -cf - . | gzip -6n > posix-epoch.tar.gz
(cd "$b" && busybox tar -cf - .) | gzip -3 > busybox.tar.gz
tar -C "$a" --format=gnu -cf - . | zstd -q -19 > gnu.tar.zst
tar -C "$b" --format=gnu --sort=name -cf - . | zstd -q -1 --no-check > gnu-sorted.tar.zst
python3 - "$b" > "$work/python" <<'END'
import sys, tarfile
with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.PAX_FORMAT) as archive:
    archive.add(sys.argv[1], arcname="/")
END
gzip -n < "$work/python" > python.tar.gz
cat > "$work/pack.go" <<'END'
package main

import (
	"archive/tar"
	"compress/gzip"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	root := os.Args[1]
	zipped := gzip.NewWriter(os.Stdout)
	archive := tar.NewWriter(zipped)
	seen := map[uint64]string{}
	check(filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		check(err)
		info, err := entry.Info()
		check(err)
		target, _ := os.Readlink(path)
		header, err := tar.FileInfoHeader(info, target)
		check(err)
		header.Name, err = filepath.Rel(root, path)
		check(err)
		if info.IsDir() {
			header.Name += "/"
		}
		header.Format = tar.FormatPAX
		header.AccessTime, header.ChangeTime = time.Now(), time.Now()
		if inode := info.Sys().(*syscall.Stat_t); info.Mode().IsRegular() && inode.Nlink > 1 {
			if first, known := seen[inode.Ino]; known {
				header.Typeflag, header.Linkname, header.Size = tar.TypeLink, first, 0
			} else {
				seen[inode.Ino] = header.Name
			}
		}
		check(archive.WriteHeader(header))
		if header.Typeflag == tar.TypeReg {
			file, err := os.Open(path)
			check(err)
			_, err = io.Copy(archive, file)
			check(err)
			check(file.Close())
		}
		return nil
	}))
	check(archive.Close())
	check(zipped.Close())
}
END
go run "$work/pack.go" "$b" > go.tar.gz

# What is not the same: another umask, another owner, one mode.
tar -C "$c" --format=gnu -cf - . | gzip -9n > different-umask.tar.gz
tar -C "$a" --format=gnu --owner=5 -cf - . | gzip -9n > different-owner.tar.gz
chmod 0755 "$a/usr/bin/tool"
tar -C "$a" --format=gnu -cf - . | gzip -9n > different-mode.tar.gz
cd "$here"
