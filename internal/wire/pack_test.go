package wire

import (
	"archive/tar"
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"testing"
)

func pack(t *testing.T, files ...PackageFile) []byte {
	t.Helper()
	b, err := Pack(files)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPack(t *testing.T) {
	long := "orders/" + strings.Repeat("very-", 60) + "long.yaml"
	files := []PackageFile{{"b.yaml", []byte("process: b\n")}, {"a/x.json", nil}, {long, bytes.Repeat([]byte("x"), 512)}, {"größe.yaml", []byte("1")}}
	archive := pack(t, files...)
	if again := pack(t, files[3], files[1], files[0], files[2]); !bytes.Equal(archive, again) {
		t.Error("got archives that depend on the order of files, want equal ones")
	}
	// This ID identifies stored packages: it must never change.
	if id := PackageID(archive); id != "050200640c17353dadae30d618fa249d1a7ab666a1eab0da65e39c58406ede12" {
		t.Error("the canonical form has changed:", id)
	}
	got, err := Unpack(archive)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	for _, f := range got {
		names[f.Name] = string(f.Content)
	}
	for _, f := range files {
		if c, ok := names[f.Name]; !ok || c != string(f.Content) {
			t.Errorf("%s: got %q, want ok and %q", f.Name, c, string(f.Content))
		}
	}
	// Any tar program can read it.
	r := tar.NewReader(bytes.NewReader(archive))
	n := 0
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil || names[h.Name] != string(content) || h.Mode != 0o644 {
			t.Errorf("%s: got %v %o, want names[h.Name] %q, Mode 0o644 and no error", h.Name, err, h.Mode, string(content))
		}
		n++
	}
	if n != len(files) {
		t.Errorf("got %d files, want %v", n, len(files))
	}
}

func TestPackRefuses(t *testing.T) {
	for name, files := range map[string][]PackageFile{
		"nothing":         {},
		"twice":           {{"a.yaml", nil}, {"a.yaml", nil}},
		"file and folder": {{"a", nil}, {"a-", nil}, {"a/b", nil}},
		"above":           {{"../a.yaml", nil}},
		"above inside":    {{"x/../../a.yaml", nil}},
		"absolute":        {{"/etc/passwd", nil}},
		"drive":           {{"C:/x", nil}},
		"backslash":       {{`a\..\b`, nil}},
		"dot":             {{"./a", nil}},
		"empty part":      {{"a//b", nil}},
		"folder":          {{"a/", nil}},
		"no text":         {{"a\xff", nil}},
		"control":         {{"a\nb", nil}},
		"nul":             {{"a\x00b", nil}},
		"no name":         {{"", nil}},
		"long name":       {{strings.Repeat("x", 2000), nil}},
		"many":            make([]PackageFile, MaxPackageFiles+1),
		"large":           {{"a", make([]byte, MaxPackageBytes)}},
	} {
		if _, err := Pack(files); !errors.Is(err, ErrInvalidPackage) {
			t.Errorf("%s: got %v, want ErrInvalidPackage", name, err)
		}
	}
}

func TestUnpackRefuses(t *testing.T) {
	tarOf := func(headers ...*tar.Header) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range headers {
			if h.Mode == 0 {
				h.Mode = 0o644
			}
			if err := w.WriteHeader(h); err != nil {
				t.Fatal(err)
			}
			w.Write(make([]byte, h.Size))
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	good := pack(t, PackageFile{"a.yaml", []byte("process: a\n")}, PackageFile{"b.yaml", nil})
	flipped := bytes.Clone(good)
	flipped[700] ^= 1 // the padding of the first file
	mode := bytes.Clone(good)
	copy(mode[100:], "0000755\x00")
	for name, archive := range map[string][]byte{
		"empty":       {},
		"only an end": make([]byte, 1024),
		"cut":         good[:len(good)-1],
		"cut file":    good[:600],
		"behind":      append(bytes.Clone(good), make([]byte, 512)...),
		"padding":     flipped,
		"mode":        mode,
		"link":        tarOf(&tar.Header{Name: "a", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}),
		"hard link":   tarOf(&tar.Header{Name: "a", Typeflag: tar.TypeLink, Linkname: "b"}),
		"folder":      tarOf(&tar.Header{Name: "a/", Typeflag: tar.TypeDir}),
		"device":      tarOf(&tar.Header{Name: "a", Typeflag: tar.TypeChar}),
		"above":       tarOf(&tar.Header{Name: "../a", Typeflag: tar.TypeReg}),
		"unsorted":    tarOf(&tar.Header{Name: "b", Typeflag: tar.TypeReg}, &tar.Header{Name: "a", Typeflag: tar.TypeReg}),
		"twice":       tarOf(&tar.Header{Name: "a", Typeflag: tar.TypeReg, Size: 1}, &tar.Header{Name: "a", Typeflag: tar.TypeReg, Size: 2}),
		"owner":       tarOf(&tar.Header{Name: "a", Typeflag: tar.TypeReg, Uid: 7}),
		"too large":   make([]byte, MaxPackageBytes+1),
		"other":       []byte(strings.Repeat("no archive at all ", 100)),
	} {
		if files, err := Unpack(archive); !errors.Is(err, ErrInvalidPackage) {
			t.Errorf("%s: got %v %v, want ErrInvalidPackage", name, files, err)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	for _, files := range [][]PackageFile{{{"a.yaml", []byte("process: a\n")}}, {{"größe/" + strings.Repeat("x", 120), []byte("1")}, {"b", nil}}} {
		archive, err := Pack(files)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(archive)
	}
	f.Fuzz(func(t *testing.T, archive []byte) {
		files, err := Unpack(archive)
		if err != nil {
			return
		}
		again, err := Pack(files)
		if err != nil || PackageID(again) != PackageID(archive) {
			t.Fatalf("%v: two archives hold the same files", err)
		}
		for _, file := range files {
			if strings.HasPrefix(file.Name, "/") || strings.Contains("/"+file.Name+"/", "/../") {
				t.Fatalf("it took %q", file.Name)
			}
		}
	})
}

func TestStatement(t *testing.T) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := &Statement{Project: "orders", Environment: "prod", Serial: 3, Package: PackageID(nil), Fields: []string{"env.URL", "connection.erp.*"}, Hosts: []string{"erp.example", "*.shop.example:8443"}}
	text, sig, err := s.Sign(key)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ReadStatement(text, sig, []ed25519.PublicKey{other, pub})
	if err != nil || got.Serial != 3 {
		t.Fatalf("got %v, %v, want no error, Serial 3", got, err)
	}
	if _, err := ReadStatement(text, sig, []ed25519.PublicKey{other}); !errors.Is(err, ErrUntrusted) {
		t.Errorf("another's key: got %v, want ErrUntrusted", err)
	}
	if _, err := ReadStatement(bytes.Replace(text, []byte(":3"), []byte(":4"), 1), sig, []ed25519.PublicKey{pub}); !errors.Is(err, ErrUntrusted) {
		t.Errorf("another serial: got %v, want ErrUntrusted", err)
	}
	if _, err := ReadStatement(text, sig, nil); !errors.Is(err, ErrUntrusted) {
		t.Errorf("without keys: got %v, want ErrUntrusted", err)
	}
	for name, want := range map[string]bool{"env.URL": true, "env.URLS": false, "connection.erp.url": true, "connection.erp2.url": false, "secret.URL": false} {
		if got.AllowsField(name) != want {
			t.Errorf("field %s: got %v, want %v", name, !want, want)
		}
	}
	for name, want := range map[string]bool{"erp.example": true, "ERP.example": true, "erp.example:444": false, "a.shop.example:8443": true, "shop.example:8443": false, "evil.example": false} {
		if got.AllowsHost(name) != want {
			t.Errorf("host %s: got %v, want %v", name, !want, want)
		}
	}
	for _, bad := range []string{``, `{}`, `{"project":"a","environment":"b","serial":0,"package":"` + PackageID(nil) + `"}`, string(text) + "x", strings.Replace(string(text), `"serial"`, `"serial":1,"other"`, 1)} {
		if _, err := ParseStatement([]byte(bad)); err == nil {
			t.Errorf("read: got %q, want an error", bad)
		}
	}
	if again, err := ParseKey(FormatKey(pub)); err != nil || !again.Equal(pub) {
		t.Errorf("got %v, want again %v and no error", err, pub)
	}
	for _, bad := range []string{"", "ed25519:", "ed25519:AAAA", FormatKey(pub)[8:]} {
		if _, err := ParseKey(bad); err == nil {
			t.Error("read as a key:", bad)
		}
	}
}
