package document

import "testing"

func TestContent(t *testing.T) {
	for in, want := range map[string]string{
		`{"filename":"a.pdf","type":"application/pdf","raw":"JVBERv8=","encoding":"base64"}`: "application/pdf %PDF\xff",
		`{"raw":"JVBERv8=","encoding":"base64"}`:                                             "application/octet-stream %PDF\xff",
		`{"filename":"a.txt","type":"text/plain","raw":"hällo"}`:                             "text/plain hällo",
		`{"raw":"x"}`:                              `application/json {"raw":"x"}`,
		`{"type":"t","filename":"f"}`:              `application/json {"type":"t","filename":"f"}`,
		`{"raw":"x","encoding":"base64","more":1}`: `application/json {"raw":"x","encoding":"base64","more":1}`,
		`[{"raw":"x","encoding":"base64"}]`:        `application/json [{"raw":"x","encoding":"base64"}]`,
		`{"raw":"?","encoding":"base64"}`:          "error: raw is not valid Base64",
		`{"raw":"x","encoding":"hex"}`:             "error: the encoding of a file must be base64",
	} {
		b, media, err := FromJSON([]byte(in)).Content()
		got := media + " " + string(b)
		if err != nil {
			got = "error: " + err.Error()
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
	if b, media, err := New([]byte("\xff"), "image/png", "").Content(); err != nil || string(b) != "\xff" || media != "image/png" {
		t.Errorf("binary: got %q %s %v, want the body", b, media, err)
	}
}

func TestRaw(t *testing.T) {
	for _, c := range []struct {
		doc  *Document
		want string
	}{
		{FromJSON([]byte(`{"a":1}`)), `"{\"a\":1}"`},
		{New([]byte("text"), "application/octet-stream", ""), `"text"`},
		{New([]byte("\xff"), "image/png", ""), `{"type":"image/png","raw":"/w==","encoding":"base64"}`},
		{New([]byte("\xff"), "", ""), `{"raw":"/w==","encoding":"base64"}`},
	} {
		if got := string(AppendJSON(nil, c.doc.Raw())); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}
