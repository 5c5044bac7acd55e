package dataplane

import (
	"bytes"
	"compress/gzip"
	"strings"
	"testing"

	"valence/atom"
	"valence/internal/metrics"
	"valence/processes"
)

func gzipped(s string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(s))
	_ = z.Close()
	return b.String()
}

const (
	jsonType = "application/json"
	xmlType  = "application/xml"
)

func problemDoc(kind, title, status, detail, errors string) string {
	doc := `{"type":"urn:valence:problem:` + kind + `","title":"` + title + `","status":` + status + `,"detail":"` + detail + `"`
	if errors != "" {
		doc += `,"errors":[` + errors + `]`
	}
	return doc + "}\n"
}

func invalid(what, errors string) string {
	return problemDoc("invalid_body", "Invalid request body", "400", "The body is not valid "+what+".", errors)
}

func wrongType(detail string) string {
	return problemDoc("content_type", "Unsupported content type", "415", detail, "")
}

// Each kind of invalid body has one status and one problem, and never reaches
// the atom.
func TestBadInput(t *testing.T) {
	f := &fake{}
	s := serve(t, f,
		on("/json"), on("/xml", takesAs("xml"), replies("json")), on("/text", takesAs("text")), on("/form", takesAs("form")),
		on("/parts", takesAs("multipart")), on("/small", limited(processes.Limits{Body: 100})), on("/bytes", takesAs("binary"), limited(processes.Limits{Body: 100})),
	)
	big := problemDoc("too_large", "Request body too large", "413", "The limit is 100 bytes.", "")
	encoding := problemDoc("content_encoding", "Unsupported content encoding", "415", "Send the body unencoded or with Content-Encoding: gzip, applied once.", "")
	broken := problemDoc("broken_body", "Incomplete request body", "400", "The body is not valid gzip data.", "")
	form := "multipart/form-data; boundary=b"
	for _, c := range []struct {
		name, path, body string
		headers          []string
		status           int
		want             string // "" is not compared
	}{
		{"empty", "/json", "", []string{"Content-Type", jsonType}, 400, invalid("JSON", `{"pointer":"","detail":"the JSON is empty","line":1,"column":1}`)},
		{"only space", "/json", " \n ", nil, 400, invalid("JSON", `{"pointer":"","detail":"the JSON is empty","line":2,"column":2}`)},
		{"not JSON", "/json", "<order/>", nil, 400, ""},
		{"trailing garbage", "/json", "{\"a\":1}\n}", nil, 400, invalid("JSON", `{"pointer":"","detail":"unexpected \"}\" after the JSON value","line":2,"column":1}`)},
		{"two values", "/json", `{} {}`, nil, 400, ""},
		{"duplicate keys", "/json", `{"a":{"b":1,"b":2}}`, nil, 400, ""},
		{"duplicate keys, one escaped", "/json", `{"b":1,"\u0062":2}`, nil, 400, ""},
		{"100,000 levels", "/json", strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000), nil, 400, ""},
		{"NaN", "/json", `{"a":NaN}`, nil, 400, ""},
		{"a number like 01", "/json", `[01]`, nil, 400, ""},
		{"not UTF-8", "/json", "{\"a\":\"\xff\"}", nil, 400, ""},
		{"half a character of UTF-16", "/json", "\xff\xfe{\x00}", nil, 400, invalid("JSON", `{"pointer":"","detail":"byte 0x7d is not valid utf-16le","line":1,"column":2}`)},
		{"two byte order marks", "/json", "\ufeff\ufeff{}", nil, 400, ""},
		{"NUL in a string", "/json", "{\"a\":\"\x00\"}", nil, 400, ""},
		{"over the limit", "/small", strings.Repeat(" ", 101), nil, 413, big},
		{"wrong charset", "/json", `{}`, []string{"Content-Type", "application/json; charset=klingon"}, 415, wrongType(`The charset \"klingon\" is not supported. Send the body in UTF-8.`)},
		{"wrong type", "/json", `{}`, []string{"Content-Type", "text/plain"}, 415, wrongType("Send the body with Content-Type: application/json.")},
		{"what curl sends", "/json", `{}`, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, wrongType("Send the body with Content-Type: application/json.")},
		{"broken type", "/json", `{}`, []string{"Content-Type", "application/"}, 415, wrongType("The Content-Type header is not valid.")},
		{"two types", "/json", `{}`, []string{"Content-Type", jsonType, "Content-Type", "text/plain"}, 415, wrongType("The Content-Type header is not valid.")},
		{"unknown encoding", "/json", `{}`, []string{"Content-Encoding", "br"}, 415, encoding},
		{"two encodings", "/json", `{}`, []string{"Content-Encoding", "gzip, gzip"}, 415, encoding},
		{"encoding twice", "/json", `{}`, []string{"Content-Encoding", "gzip", "Content-Encoding", "gzip"}, 415, encoding},
		{"not gzip", "/json", `{}`, []string{"Content-Encoding", "gzip"}, 400, broken},
		{"gzip of nothing", "/json", ``, []string{"Content-Encoding", "gzip"}, 400, broken},
		{"gzip cut off", "/json", gzipped(`{"a":1}`)[:20], []string{"Content-Encoding", "gzip"}, 400, broken},
		{"gzip with a wrong sum", "/json", func() string { b := []byte(gzipped(`{"a":1}`)); b[len(b)-6] ^= 1; return string(b) }(), []string{"Content-Encoding", "gzip"}, 400, broken},
		{"gzip bomb", "/small", gzipped(strings.Repeat(" ", 30_000))[:], []string{"Content-Encoding", "gzip"}, 413, big},
		{"gzip in gzip", "/json", gzipped(gzipped(`{}`)), []string{"Content-Encoding", "gzip"}, 400, ""},
		{"binary over the limit", "/bytes", strings.Repeat("x", 101), nil, 413, big},

		{"XML, empty", "/xml", "", nil, 400, ""},
		{"XML, not closed", "/xml", "<a><b></a>", nil, 400, ""},
		{"XML, two roots", "/xml", "<a/><b/>", nil, 400, ""},
		{"XML bomb", "/xml", `<!DOCTYPE a [<!ENTITY x "xxxxxxxxxx"><!ENTITY y "&x;&x;&x;&x;">]><a>&y;</a>`, nil, 400, ""},
		{"XML external entity", "/xml", `<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>`, nil, 400, ""},
		{"XML unknown entity", "/xml", `<a>&x;</a>`, nil, 400, ""},
		{"XML, 100,000 levels", "/xml", strings.Repeat("<a>", 100_000), nil, 400, ""},
		{"XML, unknown charset", "/xml", "<?xml version=\"1.0\" encoding=\"klingon\"?><a/>", nil, 400, invalid("XML", `{"pointer":"","detail":"the declared charset klingon is not supported"}`)},
		{"XML, wrong charset", "/xml", "<a/>", []string{"Content-Type", "text/xml; charset=utf-7"}, 415, wrongType(`The charset \"utf-7\" is not supported. Send the body in UTF-8.`)},
		{"XML sent as JSON", "/xml", "<a/>", []string{"Content-Type", jsonType}, 415, wrongType("Send the body with Content-Type: application/xml.")},

		{"text, not UTF-8", "/text", "ab\xffc", nil, 400, invalid("text", `{"pointer":"","detail":"invalid UTF-8 byte 0xff","line":1,"column":3}`)},
		{"text, wrong charset", "/text", "x", []string{"Content-Type", "text/plain; charset=x-user-defined"}, 415, wrongType(`The charset \"x-user-defined\" is not supported. Send the body in UTF-8.`)},
		{"text, an image", "/text", "x", []string{"Content-Type", "image/png"}, 415, wrongType("Send the body with Content-Type: text/plain.")},
		{"form, bad escape", "/form", "a=%zz", nil, 400, ""},
		{"form, sent as JSON", "/form", "{}", []string{"Content-Type", jsonType}, 415, wrongType("Send the body with Content-Type: application/x-www-form-urlencoded.")},
		{"parts, no boundary", "/parts", "x", []string{"Content-Type", "multipart/form-data"}, 400, invalid("multipart/form-data", `{"pointer":"","detail":"the Content-Type has no boundary"}`)},
		{"parts, another boundary", "/parts", "--c\r\n\r\n--c--", []string{"Content-Type", form}, 400, ""},
		{"parts, no end", "/parts", "--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx", []string{"Content-Type", form}, 400, ""},
		{"parts, no name", "/parts", "--b\r\n\r\nx\r\n--b--\r\n", []string{"Content-Type", form}, 400, invalid("multipart/form-data", `{"pointer":"","detail":"a part has no name, or one that is not text in the charset of the request"}`)},
		{"parts, field not UTF-8", "/parts", "--b\r\nContent-Disposition: form-data; name=\"a/b\"\r\n\r\n\xff\r\n--b--\r\n", []string{"Content-Type", form}, 400, invalid("multipart/form-data", `{"pointer":"/a~1b","detail":"line 1, column 1: invalid UTF-8 byte 0xff"}`)},
		{"parts, too many", "/parts", strings.Repeat("--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n", 1001) + "--b--\r\n", []string{"Content-Type", form}, 400, invalid("multipart/form-data", `{"pointer":"","detail":"there are more than 1000 parts"}`)},
		{"query, not UTF-8", "/json?b=%FC&a=M%FCller", "{}", nil, 400, problemDoc("bad_query", "Invalid query", "400", `The query parameter \"a\" is not UTF-8.`, "")},
		{"query, name not UTF-8", "/json?%FC", "{}", nil, 400, problemDoc("bad_query", "Invalid query", "400", `The query parameter \"?\" is not UTF-8.`, "")},
		{"query", "/json?a=%zz", "{}", nil, 400, problemDoc("bad_query", "Invalid query", "400", "The query cannot be parsed.", "")},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := send(s, "POST", c.path, c.body, c.headers...)
			if w.Code != c.status || w.Header().Get("Content-Type") != "application/problem+json" {
				t.Fatalf("got %d %s %s, want status %v and Content-Type application/problem+json", w.Code, w.Header().Get("Content-Type"), w.Body, c.status)
			}
			if c.want != "" && w.Body.String() != c.want {
				t.Errorf("got  %swant %s", w.Body, c.want)
			}
			if w.Header().Get("Correlation-Id") == "" {
				t.Error("no Correlation-Id")
			}
			if in := f.last(); in != nil {
				t.Fatalf("reached the atom: %s, want rejected", data(in.Doc))
			}
		})
	}
}

func TestInput(t *testing.T) {
	f := &fake{}
	s := serve(t, f, on("/json"), on("/xml", takesAs("xml")), on("/text", takesAs("text")), on("/form", takesAs("form")), on("/none", takesAs("none")),
		on("/parts", takesAs("multipart")), on("/bytes", takesAs("binary")),
		on("/ansi", takesAs("text"), inCharset("windows-1252")), on("/ansiform", takesAs("form"), inCharset("windows-1252")), on("/ansiparts", takesAs("multipart"), inCharset("windows-1252")))
	for _, c := range []struct {
		name, path, body, contentType string
		data, media                   string
	}{
		{"JSON", "/json", ` {"b":1.10,"a":12345678901234567890}`, jsonType, ` {"b":1.10,"a":12345678901234567890}`, jsonType},
		{"JSON, no type", "/json", `[]`, "", `[]`, jsonType},
		{"JSON, charset", "/json", `"ä"`, `application/json; charset="UTF-8"`, `"ä"`, jsonType},
		{"JSON of another name", "/json", `1`, "application/vnd.shop.order+json", `1`, jsonType},
		{"XML", "/xml", `<o id="1"><n>2</n><n>3</n></o>`, "text/xml", `{"o":{"@id":"1","n":["2","3"]}}`, "text/xml"},
		{"XML, no type", "/xml", `<o/>`, "", ``, xmlType},
		{"XML, SOAP", "/xml", `<o>x</o>`, "application/soap+xml; charset=utf-8", `{"o":"x"}`, "application/soap+xml; charset=utf-8"},
		{"XML, latin1 said outside", "/xml", "<o>\xe4</o>", "text/xml; charset=ISO-8859-1", `{"o":"ä"}`, "text/xml; charset=utf-8"},
		{"XML, latin1 said inside", "/xml", "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><o>\xe4</o>", "text/xml", `{"o":"ä"}`, "text/xml"},
		{"XML, latin1 said inside, utf-8 outside", "/xml", "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><o>ä</o>", "application/xml; charset=utf-8", `{"o":"ä"}`, "application/xml; charset=utf-8"},
		{"XML, utf-8 said inside, latin1 outside", "/xml", "<?xml version=\"1.0\" encoding=\"UTF-8\"?><o>\xe4</o>", "text/xml; charset=iso-8859-1", `{"o":"ä"}`, "text/xml; charset=utf-8"},
		{"XML, byte order mark", "/xml", "\ufeff<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><o>ä</o>", "application/xml", `{"o":"ä"}`, "application/xml"},
		{"XML, UTF-16", "/xml", "\xfe\xff\x00<\x00o\x00>\x20\xac\x00<\x00/\x00o\x00>", "application/xml", `{"o":"€"}`, "application/xml"},
		{"JSON, byte order mark", "/json", "\ufeff{\"a\":1.50}", jsonType, `{"a":1.50}`, jsonType},
		{"JSON, latin1", "/json", "\"\xe4\"", "application/json; charset=iso-8859-1", `"ä"`, jsonType},
		{"JSON, UTF-16", "/json", "\xff\xfe[\x00]\x00", jsonType, `[]`, jsonType},
		{"text, windows-1252", "/text", "\x80", "text/plain; charset=windows-1252", `"€"`, "text/plain; charset=utf-8"},
		{"text, default charset", "/ansi", "\x80", "text/plain", `"€"`, "text/plain; charset=utf-8"},
		{"text, charset before the default", "/ansi", "€", "text/plain; charset=utf-8", `"€"`, "text/plain; charset=utf-8"},
		{"text, mark before the default", "/ansi", "\ufeff€", "text/plain", `"€"`, "text/plain; charset=utf-8"},
		{"form, default charset", "/ansiform", "a%FC=%80&b=x", "application/x-www-form-urlencoded", `{"aü":"€","b":"x"}`, "application/x-www-form-urlencoded"},
		{"parts, charsets", "/ansiparts", "--b\r\nContent-Disposition: form-data; name=\"\xfc\"\r\n\r\n\x80\r\n" +
			"--b\r\nContent-Disposition: form-data; name=k\r\nContent-Type: text/plain; charset=koi8-r\r\n\r\n\xd2\r\n" +
			"--b\r\nContent-Disposition: form-data; name=_charset_\r\n\r\nutf-8\r\n--b\r\nContent-Disposition: form-data; name=u\r\n\r\n€\r\n--b--\r\n",
			"multipart/form-data; boundary=b", `{"ü":"€","k":"р","_charset_":"utf-8","u":"€"}`, "multipart/form-data; boundary=b"},
		{"text", "/text", "a \"b\"\n", "text/plain", `"a \"b\"\n"`, "text/plain; charset=utf-8"},
		{"text, empty", "/text", "", "", `""`, "text/plain; charset=utf-8"},
		{"text, latin1", "/text", "\xe4", "text/plain; charset=latin1", `"ä"`, "text/plain; charset=utf-8"},
		{"text, CSV", "/text", "a,b", "text/csv", `"a,b"`, "text/plain; charset=utf-8"},
		{"form", "/form", "b=1&a=x+y&b=%C3%A4", "application/x-www-form-urlencoded", `{"b":["1","ä"],"a":"x y"}`, "application/x-www-form-urlencoded"},
		{"binary", "/bytes", "\x00\xff", "image/png", ``, "image/png"},
		{"binary, no type", "/bytes", "\x00\xff", "", ``, "application/octet-stream"},
		{"none", "/none", "whatever", "text/plain", `null`, ""},
		{"none, no body", "/none", "", "", `null`, ""},
		{"parts", "/parts", "--b\r\nContent-Disposition: form-data; name=id\r\n\r\n7\r\n" +
			"--b\r\nContent-Disposition: form-data; name=f; filename=\"../a.txt\"\r\nContent-Type: text/plain\r\n\r\nhällo\r\n" +
			"--b\r\nContent-Disposition: form-data; name=f; filename=b.bin\r\n\r\n\x00\xff\r\n--b--\r\n", "multipart/form-data; boundary=b",
			`{"id":"7","f":[{"filename":"a.txt","type":"text/plain","raw":"hällo"},{"filename":"b.bin","type":"application/octet-stream","raw":"AP8=","encoding":"base64"}]}`,
			"multipart/form-data; boundary=b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			headers := []string{}
			if c.contentType != "" {
				headers = append(headers, "Content-Type", c.contentType)
			}
			w := send(s, "POST", c.path, c.body, headers...)
			if w.Code != 200 {
				t.Fatalf("got %d %s, want status 200", w.Code, w.Body)
			}
			in := f.last()
			if c.name == "XML, no type" {
				if in.Doc.MediaType() != c.media || !strings.HasPrefix(in.Doc.Data(), `{"o":`) {
					t.Errorf(`got %s %s, want MediaType %q and Data beginning with {"o":`, in.Doc.MediaType(), in.Doc.Data(), c.media)
				}
				return
			}
			if in.Doc.Data() != c.data || in.Doc.MediaType() != c.media {
				t.Errorf("got  %s %s\nwant %s %s", in.Doc.MediaType(), in.Doc.Data(), c.media, c.data)
			}
		})
	}
}

// The digest covers the encoded body, the document contains the decoded one.
func TestGzipAndDigest(t *testing.T) {
	f := &fake{}
	s := serve(t, f, on("/json"))
	for _, encoding := range []string{"gzip", "x-gzip", "GZIP"} {
		body := gzipped(`{"a":1}`)
		if w := send(s, "POST", "/json", body, "Content-Encoding", encoding); w.Code != 200 {
			t.Fatalf("%s: got %d %s, want status 200", encoding, w.Code, w.Body)
		}
		if in := f.last(); in.Doc.Data() != `{"a":1}` || in.SHA256 != hexDigest(body) {
			t.Errorf(`%s: got %s %s, want Data {"a":1} and SHA256 %q`, encoding, in.Doc.Data(), in.SHA256, hexDigest(body))
		}
	}
	if w := send(s, "POST", "/json", `{}`, "Content-Encoding", "identity"); w.Code != 200 || f.last().SHA256 != "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a" {
		t.Errorf("got %d %s", w.Code, f.last().SHA256)
	}
}

// Problems of an XML listener are XML.
func TestXMLProblem(t *testing.T) {
	s := serve(t, &fake{}, on("/in", takesAs("xml")), on("/out", replies("xml")))
	w := send(s, "POST", "/in", "<a>", "Content-Type", "image/png")
	want := `<?xml version="1.0" encoding="UTF-8"?>` + "\n" + `<problem xmlns="urn:ietf:rfc:7807"><type>urn:valence:problem:content_type</type>` +
		`<title>Unsupported content type</title><status>415</status><detail>Send the body with Content-Type: application/xml.</detail></problem>` + "\n"
	if w.Code != 415 || w.Header().Get("Content-Type") != "application/problem+xml" || w.Body.String() != want {
		t.Errorf("got %d %s, want status 415, Content-Type application/problem+xml and body %q", w.Code, w.Body, want)
	}
	w = send(s, "POST", "/out", "[1,")
	if w.Code != 400 || w.Header().Get("Content-Type") != "application/problem+xml" || !strings.Contains(w.Body.String(), "<errors><i><pointer>") ||
		!strings.Contains(w.Body.String(), "<line>1</line><column>4</column></i></errors>") {
		t.Errorf("got %d %s, want status 400, Content-Type application/problem+xml, body with <errors><i><pointer> and body with <line>1</line><column>4</column></i></errors>", w.Code, w.Body)
	}
}

// FuzzIntake sends arbitrary requests to every kind of listener. Each gets a
// valid response, and every accepted message has a JSON data view.
func FuzzIntake(f *testing.F) {
	inputs := []string{"json", "xml", "text", "binary", "form", "multipart", "none"}
	for i, seed := range []string{`{"a":[1,"x"]}`, `<a b="c"><d/>x</a>`, "hällo", "\x00\xff", "a=1&b=%20", "--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--b--\r\n", ""} {
		f.Add(i, []byte(seed), "", "", "/x/1?q=1")
	}
	f.Add(0, []byte(gzipped(`{}`)), "application/json", "gzip", "/x/a%2Fb")
	f.Add(5, []byte("--b--"), "multipart/form-data; boundary=b", "", "/x/%00")
	var deployed []*atom.DeployedProcess
	for _, in := range inputs {
		deployed = append(deployed, on("/"+in+"/{id}", takesAs(in), limited(processes.Limits{Body: 4096})))
	}
	a := &fake{}
	s := New(Options{Atom: a, Metrics: metrics.New()})
	s.Deploy(deployed)
	f.Fuzz(func(t *testing.T, kind int, body []byte, contentType, encoding, target string) {
		if kind < 0 {
			kind = -(kind + 1)
		}
		r, ok := fuzzRequest("/"+inputs[kind%len(inputs)]+target, body, contentType, encoding)
		if !ok {
			return
		}
		w := newRecorder()
		before := len(a.arrived)
		s.ServeHTTP(w, r)
		switch w.Code {
		case 200, 400, 404, 413, 415:
		default:
			t.Fatalf("got %d %s", w.Code, w.Body)
		}
		if (w.Code == 200) != (len(a.arrived) == before+1) {
			t.Fatalf("%d arrived with %d", len(a.arrived)-before, w.Code)
		}
		for _, in := range a.arrived[before:] {
			checkArrival(t, in)
		}
		a.arrived, a.contexts = nil, nil
	})
}
