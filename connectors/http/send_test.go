package http

import (
	"io"
	"mime"
	"mime/multipart"
	"strings"
	"testing"

	"valence/internal/document"
)

func TestEncode(t *testing.T) {
	object := document.FromJSON([]byte(`{"b":"x & ä","a":0.10,"l":[1,"2"]}`))
	text := document.FromText("grüße")
	xml := document.New([]byte(`<a/>`), "text/xml; charset=utf-8", `{"a":""}`)
	form := document.New([]byte(`a=1&b=2`), "application/x-www-form-urlencoded", `{"a":"1","b":"2"}`)
	binary := document.New([]byte{0, 255}, "image/png", "")
	const xmlHead = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"
	tests := []struct {
		doc  *document.Document
		with with
		body string
		kind string // Content-Type; "" with why
		why  string
	}{
		{object, with{}, `{"b":"x & ä","a":0.10,"l":[1,"2"]}`, "application/json", ""},
		{text, with{}, "grüße", "text/plain; charset=utf-8", ""},
		{xml, with{}, "<a/>", "text/xml; charset=utf-8", ""},
		{binary, with{}, "\x00\xff", "image/png", ""},
		{document.New([]byte("x"), "", ""), with{}, "x", "", ""},
		{document.Empty, with{}, "", "", ""},
		{nil, with{Format: "json"}, "", "", ""},

		{xml, with{Format: "json"}, `{"a":""}`, "application/json", ""},
		{text, with{Format: "json"}, `"grüße"`, "application/json", ""},
		{document.Empty, with{Format: "json"}, "null", "application/json", ""},
		{object, with{Format: "json", ContentType: "application/vnd.api+json"}, `{"b":"x & ä","a":0.10,"l":[1,"2"]}`, "application/vnd.api+json", ""},
		{binary, with{Format: "json"}, "", "", "cannot send a binary document (image/png) as json"},

		{document.FromJSON([]byte(`{"order":{"@id":"1","line":["a","b"]}}`)), with{Format: "xml"},
			xmlHead + `<order id="1"><line>a</line><line>b</line></order>` + "\n", "application/xml; charset=utf-8", ""},
		{document.FromJSON([]byte(`{"a":"1","b":"2"}`)), with{Format: "xml", Root: "r"}, xmlHead + `<r><a>1</a><b>2</b></r>` + "\n", "application/xml; charset=utf-8", ""},
		{document.FromJSON([]byte(`{"a":"1","b":"2"}`)), with{Format: "xml"}, "", "", "cannot send the document as xml: "},
		{xml, with{Format: "xml"}, "<a/>", "text/xml; charset=utf-8", ""},

		{text, with{Format: "text"}, "grüße", "text/plain; charset=utf-8", ""},
		{document.FromJSON([]byte(`12345678901234567890.10`)), with{Format: "text"}, "12345678901234567890.10", "text/plain; charset=utf-8", ""},
		{document.FromJSON([]byte(`true`)), with{Format: "text", ContentType: "text/csv"}, "true", "text/csv", ""},
		{document.FromJSON([]byte(`"a\nb"`)), with{Format: "text"}, "a\nb", "text/plain; charset=utf-8", ""},
		{xml, with{Format: "text"}, "<a/>", "text/plain; charset=utf-8", ""},
		{object, with{Format: "text"}, "", "", "cannot send a document of type object as text"},
		{document.FromJSON([]byte(`null`)), with{Format: "text"}, "", "", "cannot send a document of type null as text"},
		{binary, with{Format: "text"}, "", "", "cannot send a document of type null as text"},

		{document.FromJSON([]byte(`{"b":"x & ä","a":0.10,"l":["1","2"]}`)), with{Format: "form"}, `b=x+%26+%C3%A4&a=0.10&l=1&l=2`, "application/x-www-form-urlencoded", ""},
		{form, with{Format: "form"}, `a=1&b=2`, "application/x-www-form-urlencoded", ""},
		{text, with{Format: "form"}, "", "", "cannot send the document as form: "},

		{binary, with{Format: "binary"}, "\x00\xff", "image/png", ""},
		{document.New([]byte("x"), "", ""), with{Format: "binary"}, "x", octets, ""},
		{document.New([]byte("x"), "a/b\r\nX: y", ""), with{}, "", "", "the value of header Content-Type contains a control character"},
		{binary, with{Format: "binary", ContentType: "a/b\r\nX: y"}, "", "", "the value of header Content-Type contains a control character"},
		{object, with{Format: "yaml"}, "", "", `unknown format "yaml"`},
		{text, with{Format: "multipart"}, "", "", "cannot send a document of type text as multipart"},
		{object, with{Format: "multipart", ContentType: "multipart/related"}, "", "", "content_type cannot be combined with format: multipart"},
	}
	for i, test := range tests {
		body, kind, f := encode(t.Context(), test.doc, &test.with, nil)
		if test.why != "" {
			if f == nil || f.Code != codeCall || f.Retryable || !strings.HasPrefix(f.Message, test.why) {
				t.Errorf("%d: got %v, want %s", i, f, test.why)
			}
			continue
		}
		if f != nil || string(body.bytes()) != test.body || kind != test.kind {
			t.Errorf("%d: got %q as %q, %v; want %q as %q", i, body.bytes(), kind, f, test.body, test.kind)
		}
	}
}

func TestMultipart(t *testing.T) {
	d := document.FromJSON([]byte(`{"id":4711,"note":"a \"b\"\r\nc","tags":["x","y"],"none":null,"meta":{"k":[1]},"ok":true,` +
		`"file":{"filename":"bill \"1\".txt","type":"text/plain","raw":"total: 5"},"scan":{"filename":"ä.png","raw":"AP8=","encoding":"base64"}}`))
	body, kind, f := encode(t.Context(), d, &with{Format: formatMultipart}, nil)
	if f != nil {
		t.Fatalf("got %v, want no failure", f)
	}
	_, params, err := mime.ParseMediaType(kind)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for r := multipart.NewReader(body.open(), params["boundary"]); ; {
		p, err := r.NextRawPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, _ := io.ReadAll(p)
		got = append(got, p.Header.Get("Content-Disposition")+"|"+p.Header.Get("Content-Type")+"|"+string(content))
	}
	want := []string{
		`form-data; name="id"||4711`,
		"form-data; name=\"note\"||a \"b\"\r\nc",
		`form-data; name="tags"||x`, `form-data; name="tags"||y`,
		`form-data; name="meta"|application/json|{"k":[1]}`,
		`form-data; name="ok"||true`,
		`form-data; name="file"; filename="bill %221%22.txt"|text/plain|total: 5`,
		"form-data; name=\"scan\"; filename=\"ä.png\"|application/octet-stream|\x00\xff",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for text, why := range map[string]string{
		`{"f":{"filename":"x"}}`:                               `multipart: part "f" needs raw, which must be text`,
		`{"f":{"filename":"x","raw":1}}`:                       `multipart: part "f" needs raw, which must be text`,
		`{"f":{"filename":"x","raw":"?","encoding":"base64"}}`: `multipart: raw of part "f" is not valid Base64`,
		`{"f":{"filename":"x","raw":"a","encoding":"hex"}}`:    `multipart: the encoding of part "f" must be base64`,
		`{"f":{"filename":1,"raw":"a"}}`:                       `multipart: the filename of part "f" must be text`,
		`{"f":{"filename":"x","raw":"a","type":"a\r\nX: y"}}`:  `multipart: the type of part "f" is not a media type`,
		`{"a\u0000b":"x"}`:                                     "multipart: part \"a\x00b\": the value of header Content-Disposition contains a control character",
	} {
		if _, _, f := encode(t.Context(), document.FromJSON([]byte(text)), &with{Format: formatMultipart}, nil); f == nil || f.Message != why {
			t.Errorf("%s: got %v, want %s", text, f, why)
		}
	}
	// A document that is already multipart is sent unchanged.
	d = document.New([]byte("--b--"), "multipart/form-data; boundary=b", "{}")
	if body, kind, f := encode(t.Context(), d, &with{Format: formatMultipart}, nil); f != nil || string(body.bytes()) != "--b--" || kind != d.MediaType() {
		t.Errorf("got %q %q %v, want the document unchanged", body.bytes(), kind, f)
	}
}
