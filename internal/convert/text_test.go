package convert

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestText(t *testing.T) {
	const latin = `<?xml version="1.0" encoding="ISO-8859-1"?><r>`
	for name, c := range map[string]struct {
		in    string
		label Label
		want  string
	}{
		"nothing":                            {"", Label{}, ""},
		"UTF-8":                              {"Müller €", Label{}, "Müller €"},
		"mark":                               {"\ufeffü", Label{Charset: "iso-8859-1"}, "ü"},
		"mark before the declaration":        {"\ufeff" + latin + "ü</r>", Label{XML: true}, `<?xml version="1.0" encoding="UTF-8"?><r>ü</r>`},
		"charset before the declaration":     {latin + "ü</r>", Label{XML: true, Charset: "utf-8"}, `<?xml version="1.0" encoding="UTF-8"?><r>ü</r>`},
		"latin1 before UTF-8":                {"<?xml version='1.0' encoding='UTF-8'?><r>\xfc</r>", Label{XML: true, Charset: "iso-8859-1"}, "<?xml version='1.0' encoding='UTF-8'?><r>ü</r>"},
		"declaration":                        {latin + "\xfc</r>", Label{XML: true}, `<?xml version="1.0" encoding="UTF-8"?><r>ü</r>`},
		"declaration before the default":     {latin + "\xfc</r>", Label{XML: true, Default: "koi8-r"}, `<?xml version="1.0" encoding="UTF-8"?><r>ü</r>`},
		"declaration of UTF-16 in bytes":     {`<?xml version="1.0" encoding="utf-16"?><r>ü</r>`, Label{XML: true}, `<?xml version="1.0" encoding="UTF-8"?><r>ü</r>`},
		"declaration of text that is no XML": {latin + "ü</r>", Label{}, latin + "ü</r>"},
		"no declaration":                     {"<?xml version=\"1.0\"?><r>\x80</r>", Label{XML: true, Default: "windows-1252"}, "<?xml version=\"1.0\"?><r>€</r>"},
		"default":                            {"\x80 M\xfcller", Label{Default: "windows-1252"}, "€ Müller"},
		"iso-8859-15":                        {"\xa4", Label{Charset: "ISO-8859-15"}, "€"},
		"shift_jis":                          {"\x93\xfa\x96\x7b", Label{Charset: "shift_jis"}, "日本"},
		"iso-2022-jp":                        {"a\x1b$BF|K\\\x1b(Bb", Label{Charset: "iso-2022-jp"}, "a日本b"},
		"gb18030 with a replacement":         {"\x84\x31\xa4\x37\xd6\xd0", Label{Charset: "gb18030"}, "\uFFFD中"},
		"big5":                               {"\xa4\xa4", Label{Charset: "Big5"}, "中"},
		"euc-kr":                             {"\xc7\xd1", Label{Charset: "ks_c_5601-1987"}, "한"},
		"us-ascii":                           {"ü", Label{Charset: "us-ascii"}, "ü"},
		"UTF-16 LE":                          {"\xff\xfea\x00\x3d\xd8\x00\xde", Label{}, "a😀"},
		"UTF-16 BE":                          {"\xfe\xff\x00a\xd8\x3d\xde\x00", Label{}, "a😀"},
		"UTF-16 with U+FFFD":                 {"\xff\xfe\xfd\xff", Label{}, "\uFFFD"},
		"UTF-16 XML without mark":            {"\x00<\x00r\x00/\x00>", Label{XML: true}, "<r/>"},
		"utf-16 by name":                     {"a\x00", Label{Charset: "utf-16"}, "a"},

		"unknown charset":     {"x", Label{Charset: "klingon"}, "the charset klingon is not supported"},
		"utf-7":               {"x", Label{Charset: "utf-7"}, "the charset utf-7 is not supported"},
		"iso-2022-kr":         {"x", Label{Charset: "iso-2022-kr"}, "the charset iso-2022-kr is not supported"},
		"unknown declaration": {`<?xml version="1.0" encoding="x"?><r/>`, Label{XML: true, Default: "utf-8"}, "the declared charset x is not supported"},
		"half of two bytes":   {"ab\nc\x81", Label{Charset: "shift_jis"}, "line 2, column 2: byte 0x81 is not valid shift_jis"},
		"no such byte":        {"a\xd2", Label{Charset: "windows-1253"}, "line 1, column 2: byte 0xd2 is not valid windows-1253"},
		"lone surrogate":      {"\xff\xfea\x00\x00\xd8b\x00", Label{}, "line 1, column 2: byte 0x00 is not valid utf-16le"},
		"odd length":          {"\xff\xfea\x00b", Label{}, "line 1, column 2: byte 0x62 is not valid utf-16le"},
		"invalid gb18030":     {"\xd6\xd0\xff", Label{Charset: "gb18030"}, "line 1, column 2: byte 0xff is not valid gb18030"},
	} {
		out, err := Text(t.Context(), []byte(c.in), c.label)
		got := string(out)
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s:\n got %q\nwant %q", name, got, c.want)
		}
	}
}

// Whatever the bytes and their label, text is UTF-8 without replacement
// characters that the sender did not write, or an error with its offset.
func TestTextIsNeverReplaced(t *testing.T) {
	names := []string{"windows-1252", "windows-1253", "iso-8859-8", "koi8-r", "shift_jis", "euc-jp", "iso-2022-jp", "gbk", "big5", "euc-kr", "utf-16le", "utf-16be", "macintosh"}
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")
		name := rapid.SampledFrom(names).Draw(t, "charset")
		out, err := Text(context.Background(), b, Label{Charset: name})
		var syntax *SyntaxError
		switch {
		case err != nil && (!errors.As(err, &syntax) || syntax.Offset < 0 || syntax.Offset >= len(b)):
			t.Fatalf("%s: got %v, want a position", name, err)
		case err == nil && !utf8.Valid(out):
			t.Fatalf("%s: got %q, want UTF-8", name, out)
		case err == nil && strings.Contains(string(out), "\uFFFD") && !strings.HasPrefix(name, "utf-16") && name != "gbk":
			t.Fatalf("%s: got %q with a replacement character", name, out)
		}
	})
}

func TestKnownCharsets(t *testing.T) {
	for name, want := range map[string]bool{"utf-8": true, "UTF8": true, "Windows-1252": true, " latin1 ": true, "utf-16": true, "ascii": true,
		"": false, "utf-7": false, "replacement": false, "x-user-defined": false, "hz-gb-2312": false} {
		if got := KnownCharset(name); got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

// Plain UTF-8 JSON is read without an allocation beyond its document.
func TestDecodeOfJSONDoesNotCopy(t *testing.T) {
	b := []byte(`{"a":[1,2,3],"b":"text"}`)
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() {
		if _, err := Decode(ctx, b, Received{Format: FormatJSON, ContentType: "application/json"}); err != nil {
			t.Fatal(err)
		}
	}); n > 1 {
		t.Errorf("got %v allocations, want 1", n)
	}
	d, err := Decode(ctx, b, Received{Format: FormatJSON})
	if err != nil || !json.Valid(d.Body()) || &d.Body()[0] != &b[0] {
		t.Errorf("the body was copied: %v", err)
	}
}
