package history_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"valence/atom/store/sqlite/disk"
	"valence/atom/store/sqlite/history"
)

var day = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func open(t *testing.T, dir string, o history.Options) *history.History {
	t.Helper()
	o.FS, o.Keep = disk.OS{}, 30
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	h, err := history.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func record(seq int64, at time.Time) *history.Record {
	return &history.Record{Seq: seq, Received: at.UnixNano(), Process: fmt.Sprint("p", seq%3), Status: uint8(6 + seq%2),
		Summary: fmt.Appendf(nil, "summary %d", seq), Body: bytes.Repeat([]byte{byte(seq)}, int(seq%700))}
}

func add(t *testing.T, h *history.History, now time.Time, seqs ...int64) {
	t.Helper()
	var records []*history.Record
	for _, s := range seqs {
		records = append(records, record(s, now))
	}
	if err := h.Append(records, now, true); err != nil {
		t.Fatal(err)
	}
}

func span(from, to int64) (seqs []int64) {
	for s := from; s <= to; s++ {
		seqs = append(seqs, s)
	}
	return seqs
}

func scan(t *testing.T, h *history.History, before int64, want func(*history.Block) bool) (seqs []int64) {
	t.Helper()
	s, err := h.Scan(before, want)
	if err != nil {
		t.Fatal(err)
	}
	for {
		seq, summary, ok, err := s.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return seqs
		}
		if string(summary) != fmt.Sprint("summary ", seq) {
			t.Fatalf("execution %d: got summary %q", seq, summary)
		}
		seqs = append(seqs, seq)
	}
}

func has(t *testing.T, h *history.History, seq int64, received time.Time, want bool) {
	t.Helper()
	summary, body, err := h.Get(seq, received)
	if err != nil {
		t.Fatal(err)
	}
	if (summary != nil) != want {
		t.Fatalf("%d is there: %v, want %v", seq, !want, want)
	}
	if want && (string(summary) != fmt.Sprint("summary ", seq) || !bytes.Equal(body, record(seq, received).Body)) {
		t.Fatalf("execution %d: got summary %q and %d bytes", seq, summary, len(body))
	}
}

func TestNewestFirst(t *testing.T) {
	dir := t.TempDir()
	h := open(t, dir, history.Options{SegmentBytes: 500})
	// Late executions, duplicates, a gap, several days and segments.
	add(t, h, day, span(1, 300)...)
	add(t, h, day, 500, 310, 301)
	add(t, h, day, 310, 320)
	add(t, h, day.AddDate(0, 0, 1), append(span(501, 900), 305, 499)...)
	add(t, h, day.AddDate(0, 0, 2), append(span(950, 1000), 306)...)
	total := 300 + 3 + 1 + 402 + 52
	check := func(h *history.History) {
		t.Helper()
		all := scan(t, h, math.MaxInt64, nil)
		if len(all) != total {
			t.Fatalf("got %d executions, want %d", len(all), total)
		}
		for i := range all[1:] {
			if all[i+1] >= all[i] {
				t.Fatalf("got %d after %d, want the newest first", all[i+1], all[i])
			}
		}
		for _, at := range []int{0, 1, 40, 52, 60, 400, total - 1} {
			rest := scan(t, h, all[at], nil)
			if len(rest) != total-at-1 || len(rest) > 0 && rest[0] != all[at+1] {
				t.Fatalf("below %d there are %d, want %d", all[at], len(rest), total-at-1)
			}
		}
		has(t, h, 305, day, true)
		has(t, h, 310, day, true)
		has(t, h, 306, day, true)
		has(t, h, 1000, day.AddDate(0, 0, 2), true)
		has(t, h, 307, day, false)
		has(t, h, 5000, day, false)
		if n := len(scan(t, h, math.MaxInt64, func(b *history.Block) bool { return b.First >= day.AddDate(0, 0, 2).UnixNano() })); n == 0 || n > 60 {
			t.Errorf("got %d executions in the blocks of the last day, want 1 to 60", n)
		}
	}
	check(h)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	check(open(t, dir, history.Options{}))
	segments, _ := filepath.Glob(filepath.Join(dir, "*", "*.seg"))
	if len(segments) < 4 {
		t.Errorf("got segments %v, want at least 4", segments)
	}
}

// TestTornEnd checks that whatever a crash leaves of the last write, earlier
// and later records are readable.
func TestTornEnd(t *testing.T) {
	whole := t.TempDir()
	h := open(t, whole, history.Options{})
	add(t, h, day, span(1, 50)...)
	segment := filepath.Join(whole, "2026-03-01.30", "000001.seg")
	first, err := os.Stat(segment)
	if err != nil {
		t.Fatal(err)
	}
	add(t, h, day, span(51, 100)...)
	b, err := os.ReadFile(segment) // before it is sealed
	if err != nil {
		t.Fatal(err)
	}
	for size := first.Size(); size <= int64(len(b)); size += 37 {
		for _, garbage := range []string{"", "\x00\x00\x00\x00\x00\x00\x00\x00", "VBK1 and what was there before, which is long enough to be a header of a block, they are 72 bytes"} {
			dir := t.TempDir()
			path := filepath.Join(dir, "2026-03-01.30", "000001.seg")
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, append(b[:size:size], garbage...), 0o600); err != nil {
				t.Fatal(err)
			}
			h := open(t, dir, history.Options{})
			want := 50
			if size == int64(len(b)) {
				want = 100
			}
			if n := len(scan(t, h, math.MaxInt64, nil)); n != want {
				t.Fatalf("cut at %d of %d: %d executions, want %d", size, len(b), n, want)
			}
			add(t, h, day, 200)
			if err := h.Close(); err != nil {
				t.Fatal(err)
			}
			h = open(t, dir, history.Options{})
			if n := len(scan(t, h, math.MaxInt64, nil)); n != want+1 {
				t.Fatalf("cut at %d: %d executions after the next start, want %d", size, n, want+1)
			}
			has(t, h, 50, day, true)
			has(t, h, 200, day, true)
		}
	}
}

// TestDamage checks that damage hides only the block that it hit.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	h := open(t, dir, history.Options{})
	for i := range int64(5) {
		add(t, h, day, span(i*10+1, i*10+10)...)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "2026-03-01.30", "000001.seg")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[bytes.Index(b, []byte("summary 21"))+3] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	h = open(t, dir, history.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	if n := len(scan(t, h, math.MaxInt64, nil)); n != 40 {
		t.Errorf("got %d executions, want 40", n)
	}
	if !bytes.Contains(log.Bytes(), []byte("damaged")) || !bytes.Contains(log.Bytes(), []byte("executions=10")) {
		t.Errorf("got the log %s, want the damage", log.Bytes())
	}
	has(t, h, 31, day, true)
	if _, _, err := h.Get(21, day); err == nil {
		t.Error("got a damaged execution, want an error")
	}
}

// TestTornDirectory tears the directory of a segment as a power cut may: its
// trailer is there, its beginning is not.
func TestTornDirectory(t *testing.T) {
	for name, test := range map[string]struct {
		damage string // in the first copy of this text, a block
		want   int
	}{
		"the blocks are complete": {"", 50},
		"a block is damaged":      {"summary 21", 0},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			h := open(t, dir, history.Options{})
			for i := range int64(5) {
				add(t, h, day, span(i*10+1, i*10+10)...)
			}
			sealedAt := h.Bytes()
			if err := h.Close(); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "2026-03-01.30", "000001.seg")
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			clear(b[sealedAt : sealedAt+100])
			if test.damage != "" {
				b[bytes.Index(b, []byte(test.damage))+3] ^= 1
			}
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			h = open(t, dir, history.Options{})
			if err := h.Check(); (err == nil) != (test.want > 0) {
				t.Fatalf("Check: got %v", err)
			}
			if test.want == 0 {
				if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, b) {
					t.Errorf("a damaged segment was changed, or %v", err)
				}
				return
			}
			if n := len(scan(t, h, math.MaxInt64, nil)); n != test.want {
				t.Errorf("got %d executions, want %d", n, test.want)
			}
			has(t, h, 21, day, true)
			if n, sealed, err := history.Verify(path); n != test.want || !sealed || err != nil {
				t.Errorf("Verify: got %d, %v, %v, want %d records of a sealed segment", n, sealed, err, test.want)
			}
		})
	}
}

func TestPurge(t *testing.T) {
	dir := t.TempDir()
	h := open(t, dir, history.Options{})
	for i := range 5 {
		short := record(int64(i*10+2), day)
		short.Keep = 2
		if err := h.Append([]*history.Record{record(int64(i*10+1), day), short}, day.AddDate(0, 0, i), true); err != nil {
			t.Fatal(err)
		}
	}
	steps := []struct {
		after int
		byAge bool
		days  int
		left  int
	}{
		{5, false, 0, 10},
		{5, true, 3, 7}, // retention of two days, ended on the first three
		{29, true, 2, 5},
		{31, true, 1, 4},
		{32, true, 1, 3},
		{100, true, 3, 0},
	}
	for _, s := range steps {
		n, err := h.Purge(day.AddDate(0, 0, s.after), s.byAge)
		if err != nil || n != s.days {
			t.Errorf("after %d days: got %d deleted days, %v, want %d", s.after, n, err, s.days)
		}
		if n := len(scan(t, h, math.MaxInt64, nil)); n != s.left {
			t.Errorf("after %d days: got %d executions, want %d", s.after, n, s.left)
		}
	}
	if list, _ := os.ReadDir(dir); len(list) != 0 {
		t.Errorf("got %v in the folder, want nothing", list)
	}
	add(t, h, day.AddDate(0, 0, 100), 1000)
	has(t, h, 1000, day.AddDate(0, 0, 100), true)
}

func TestMaxBytes(t *testing.T) {
	dir := t.TempDir()
	random := make([]byte, 3000)
	rand.NewChaCha8([32]byte{}).Read(random)
	h := open(t, dir, history.Options{MaxBytes: 100 << 10, SegmentBytes: 20 << 10})
	seq := int64(0)
	for d := range 4 {
		for range 15 {
			seq++
			x := record(seq, day)
			x.Body = append(fmt.Appendf(nil, "%d", seq), random...)
			if err := h.Append([]*history.Record{x}, day.AddDate(0, 0, d), true); err != nil {
				t.Fatal(err)
			}
			if _, err := h.Purge(day.AddDate(0, 0, d), true); err != nil {
				t.Fatal(err)
			}
			if h.Bytes() > 100<<10 {
				t.Fatalf("got %d bytes, want at most %d", h.Bytes(), 100<<10)
			}
		}
	}
	left := scan(t, h, math.MaxInt64, nil)
	if left[0] != seq || left[len(left)-1] == 1 {
		t.Errorf("got %v, want the newest, without the oldest", left)
	}
	// If there is one day only, its oldest segments are deleted.
	for range 60 {
		seq++
		x := record(seq, day)
		x.Body = append(fmt.Appendf(nil, "%d", seq), random...)
		if err := h.Append([]*history.Record{x}, day.AddDate(0, 0, 9), true); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Purge(day.AddDate(0, 0, 9), false); err != nil {
			t.Fatal(err)
		}
	}
	if h.Bytes() > 100<<10 {
		t.Errorf("got %d bytes, want at most %d", h.Bytes(), 100<<10)
	}
	if summary, _, err := h.Get(seq, day); summary == nil || err != nil {
		t.Errorf("the newest execution: got none, %v", err)
	}
}

// TestPurgeCutShort checks that Open completes a purge that a crash
// interrupted.
func TestPurgeCutShort(t *testing.T) {
	dir := t.TempDir()
	h := open(t, dir, history.Options{})
	add(t, h, day, 1)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "2026-03-01.30"), filepath.Join(dir, "purged-2026-03-01.30")); err != nil {
		t.Fatal(err)
	}
	has(t, open(t, dir, history.Options{}), 1, day, false)
	if list, _ := os.ReadDir(dir); len(list) != 0 {
		t.Errorf("got %v in the folder, want nothing", list)
	}
}

// failing is a disk whose flushes fail with err.
type failing struct {
	disk.OS
	err error
}

type failingFile struct {
	disk.File
	fs *failing
}

func (f *failing) Create(path string) (disk.File, error) {
	file, err := f.OS.Create(path)
	return &failingFile{file, f}, err
}

func (f *failingFile) Sync() error {
	if f.fs.err != nil {
		return f.fs.err
	}
	return f.File.Sync()
}

// TestWriteFails checks that a failed flush is an error, and the next write
// uses another segment.
func TestWriteFails(t *testing.T) {
	dir := t.TempDir()
	f := &failing{}
	h, err := history.Open(dir, history.Options{FS: f, Keep: 30, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	add(t, h, day, 1, 2)
	f.err = fs.ErrPermission
	if err := h.Append([]*history.Record{record(3, day)}, day, true); !errors.Is(err, fs.ErrPermission) {
		t.Fatalf("got %v, want fs.ErrPermission", err)
	}
	f.err = nil
	add(t, h, day, 3, 4)
	if n := len(scan(t, h, math.MaxInt64, nil)); n != 4 {
		t.Errorf("got %d executions, want 4", n)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(scan(t, open(t, dir, history.Options{}), math.MaxInt64, nil)); n != 4 {
		t.Errorf("got %d executions after the next start, want 4", n)
	}
}
