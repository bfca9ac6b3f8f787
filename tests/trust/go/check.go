// check -- what another implementation says of our notes, trees and proofs: Go's note and tlog packages.
//
//	check DIR LOG-VKEY: DIR/log is the log; DIR/notes/* are "<vkey>\n<note>"; DIR/proofs/* are tlog-proofs, each
//	beside a file <name>.leaf
package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func must(err error, what string) {
	if err != nil {
		fmt.Println("FAIL", what, err)
		os.Exit(1)
	}
}

func read(path string) []byte {
	b, err := os.ReadFile(path)
	must(err, path)
	return b
}

// head opens a checkpoint and gives its size and root.
func head(b []byte, vkey string) (int64, tlog.Hash) {
	v, err := note.NewVerifier(vkey)
	must(err, "verifier")
	n, err := note.Open(b, note.VerifierList(v))
	must(err, "checkpoint")
	lines := strings.Split(n.Text, "\n")
	size, err := strconv.ParseInt(lines[1], 10, 64)
	must(err, "size")
	raw, err := base64.StdEncoding.DecodeString(lines[2])
	must(err, "root")
	var h tlog.Hash
	copy(h[:], raw)
	return size, h
}

type tiles struct{ dir string }

func (t tiles) Height() int                                  { return 8 }
func (t tiles) SaveTiles(tiles []tlog.Tile, data [][]byte)   {}
func (t tiles) ReadTiles(list []tlog.Tile) ([][]byte, error) {
	var out [][]byte
	for _, tile := range list {
		// C2SP tlog-tiles leaves out the height that Go's paths begin with.
		path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		b, err := os.ReadFile(filepath.Join(t.dir, path))
		if err != nil { // a full tile begins with the same bytes
			b, err = os.ReadFile(filepath.Join(t.dir, strings.Split(path, ".p/")[0]))
			if err != nil {
				return nil, err
			}
			b = b[:tile.W*tlog.HashSize]
		}
		out = append(out, b)
	}
	return out, nil
}

func entries(dir string, size int64) [][]byte {
	var out [][]byte
	for n := int64(0); n*256 < size; n++ {
		w := size - n*256
		path := fmt.Sprintf("%s/tile/entries/%03d", dir, n)
		b, err := os.ReadFile(path)
		if err != nil {
			b = read(fmt.Sprintf("%s.p/%d", path, w))
		}
		for len(b) > 0 && int64(len(out)) < size {
			l := int(b[0])<<8 | int(b[1])
			out = append(out, b[2:2+l])
			b = b[2+l:]
		}
	}
	return out
}

func checkTree(dir, vkey string) {
	size, root := head(read(filepath.Join(dir, "checkpoint")), vkey)
	leaves := entries(dir, size)
	var hashes []tlog.Hash
	reader := tlog.HashReaderFunc(func(ix []int64) ([]tlog.Hash, error) {
		var out []tlog.Hash
		for _, i := range ix {
			out = append(out, hashes[i])
		}
		return out, nil
	})
	for i, leaf := range leaves {
		h, err := tlog.StoredHashes(int64(i), leaf, reader)
		must(err, "hashes")
		hashes = append(hashes, h...)
	}
	again, err := tlog.TreeHash(size, reader)
	must(err, "tree hash")
	if again != root {
		must(fmt.Errorf("%v, not %v", again, root), "root from entries")
	}
	// through our tiles: every record and growth from several sizes
	tr := tlog.TileHashReader(tlog.Tree{N: size, Hash: root}, tiles{dir})
	for i := int64(0); i < size; i += 1 + size/50 {
		p, err := tlog.ProveRecord(size, i, tr)
		must(err, "prove record")
		must(tlog.CheckRecord(p, size, root, i, tlog.RecordHash(leaves[i])), "check record")
	}
	for old := int64(1); old <= size; old += 1 + size/50 {
		oldRoot, err := tlog.TreeHash(old, reader)
		must(err, "old tree")
		p, err := tlog.ProveTree(size, old, tr)
		must(err, "prove tree")
		must(tlog.CheckTree(p, size, root, old, oldRoot), "check tree")
	}
	fmt.Println("tree", size)
}

func checkNote(path string) {
	vkey, rest, _ := bytes.Cut(read(path), []byte("\n"))
	v, err := note.NewVerifier(string(vkey))
	must(err, path)
	_, err = note.Open(rest, note.VerifierList(v))
	must(err, path)
}

func checkProof(path, vkey string) {
	text, rest, _ := strings.Cut(string(read(path)), "\n\n")
	lines := strings.Split(text, "\n")
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[1], "index "), 10, 64)
	must(err, path)
	var p tlog.RecordProof
	for _, l := range lines[2:] {
		raw, err := base64.StdEncoding.DecodeString(l)
		must(err, path)
		var h tlog.Hash
		copy(h[:], raw)
		p = append(p, h)
	}
	size, root := head([]byte(rest), vkey)
	leaf := read(strings.TrimSuffix(path, ".proof") + ".leaf")
	must(tlog.CheckRecord(p, size, root, index, tlog.RecordHash(leaf)), path)
}

func main() {
	dir, vkey := os.Args[1], os.Args[2]
	checkTree(filepath.Join(dir, "log"), vkey)
	notes, _ := filepath.Glob(filepath.Join(dir, "notes", "*"))
	for _, n := range notes {
		checkNote(n)
	}
	proofs, _ := filepath.Glob(filepath.Join(dir, "proofs", "*.proof"))
	for _, p := range proofs {
		checkProof(p, vkey)
	}
	fmt.Println("notes", len(notes), "proofs", len(proofs))
}
