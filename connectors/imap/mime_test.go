package imap

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

// nested is a message with parts within parts.
func nested(depth int) string {
	var b strings.Builder
	b.WriteString("Subject: nested\n")
	for i := range depth {
		fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n", i, i)
	}
	b.WriteString("Content-Type: text/plain\n\nx\n")
	return b.String()
}

func TestParse(t *testing.T) {
	received := time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC)
	for _, x := range []struct{ name, content, want string }{
		{"plain", "From: \"A, B\" <a@example.com>\nTo: b@example.com, C <c@example.com>\nSubject: =?utf-8?q?Gr=C3=B6=C3=9Fe?=\nDate: Sat, 31 Jan 2026 09:00:00 +0100\nMessage-ID: <1@x>\n\nHi\nthere\n",
			`{"from":"a@example.com","to":["b@example.com","c@example.com"],"cc":[],"reply_to":[],"subject":"Größe","date":"2026-01-31T08:00:00Z","message_id":"1@x","text":"Hi\nthere\n","html":"","attachments":[]}`},
		{"alternatives and a file", "From: a@x\nContent-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: multipart/alternative; boundary=i\n\n--i\nContent-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\nGr=FC=DFe\n--i\nContent-Type: text/html\n\n<b>x</b>\n--i--\n--o\nContent-Type: application/pdf; name=x.pdf\nContent-Disposition: attachment; filename=\"../../etc/x.pdf\"\nContent-Transfer-Encoding: base64\n\nAP8=\n--o--\n",
			`{"from":"a@x","to":[],"cc":[],"reply_to":[],"subject":"","date":"2026-01-31T08:00:00Z","message_id":"","text":"Grüße","html":"<b>x</b>","attachments":[{"filename":"x.pdf","type":"application/pdf","raw":"AP8=","encoding":"base64"}]}`},
		{"no headers that are valid", "From: <<>>\nDate: soon\nContent-Type: ;;;\n\nx",
			`{"from":"<<>>","to":[],"cc":[],"reply_to":[],"subject":"","date":"2026-01-31T08:00:00Z","message_id":"","text":"","html":"","attachments":[{"filename":"","type":"application/octet-stream","raw":"x"}]}`},
		{"a forwarded message", "From: a@x\nContent-Type: message/rfc822\n\nFrom: b@x\n\ninner",
			`{"from":"a@x","to":[],"cc":[],"reply_to":[],"subject":"","date":"2026-01-31T08:00:00Z","message_id":"","text":"","html":"","attachments":[{"filename":"","type":"message/rfc822","raw":"From: b@x\r\n\r\ninner"}]}`},
		{"an unknown charset", "From: a@x\nContent-Type: text/plain; charset=klingon\n\nx",
			`{"from":"a@x","to":[],"cc":[],"reply_to":[],"subject":"","date":"2026-01-31T08:00:00Z","message_id":"","text":"x","html":"","attachments":[]}`},
	} {
		t.Run(x.name, func(t *testing.T) {
			l, err := parse(t.Context(), strings.NewReader(strings.ReplaceAll(x.content, "\n", "\r\n")))
			if err != nil {
				t.Fatal(err)
			}
			if got := l.document(received).Text(); got != x.want {
				t.Errorf("got  %s\nwant %s", got, x.want)
			}
		})
	}
}

func TestParseIsBounded(t *testing.T) {
	for name, content := range map[string]string{
		"deep":  nested(10_000),
		"parts": "Content-Type: multipart/mixed; boundary=b\n\n" + strings.Repeat("--b\n\nx\n", 100_000) + "--b--\n",
	} {
		if _, err := parse(t.Context(), strings.NewReader(strings.ReplaceAll(content, "\n", "\r\n"))); err == nil || !strings.Contains(err.Error(), "parts") {
			t.Errorf("%s: got %v, want an error about the parts", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(nested(3)))
	f.Add([]byte("From: a@x\r\nSubject: =?x?b?/w==?=\r\n\r\n\xff"))
	f.Add([]byte("Content-Type: multipart/mixed; boundary=\"\"\r\n\r\n--\r\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		l, err := parse(t.Context(), bytes.NewReader(content))
		if err != nil {
			return
		}
		if text := l.document(time.Time{}).Text(); len(text) > 20*len(content)+2_000 {
			t.Errorf("%d bytes became %d", len(content), len(text))
		}
	})
}
