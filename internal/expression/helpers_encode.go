package expression

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"strings"
	"unicode/utf8"

	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/expression/exact"
)

// encodingHelpers turn text into other text, and text into values.
var encodingHelpers = []*Helper{
	{Name: "json", Usage: "json(value)", Doc: "The value of a JSON text; of a list or an object its JSON text.", args: "v", call: jsonEither},
	{Name: "tojson", Usage: "tojson(value)", Doc: "Any value as JSON text.", args: "*", result: TypeText, call: toJSON},
	{Name: "toJSON", Usage: "tojson(value)", args: "*", result: TypeText, alias: true, call: toJSON},
	{Name: "fromJSON", Usage: "json(text)", args: "t", alias: true, call: jsonEither},
	{Name: "xml", Usage: "xml(text)", Doc: "The value of an XML text: an object with the root element as its key, attributes as @name, text as #text.", args: "t", result: TypeObject, call: fromXML},
	{Name: "csv", Usage: "csv(text[, header[, delimiter]])", Doc: "A list of objects by the header row; with header false, a list of lists.", args: "t?bt", result: TypeList, call: fromCSV},
	{Name: "base64", Usage: "base64(text)", Doc: "In Base64 (RFC 4648).", args: "t", result: TypeText, call: toBase64},
	{Name: "toBase64", Usage: "base64(text)", args: "t", result: TypeText, alias: true, call: toBase64},
	{Name: "unbase64", Usage: "unbase64(text)", Doc: "The text that a Base64 text stands for, of either alphabet, padded or not.", args: "t", result: TypeText, call: fromBase64},
	{Name: "fromBase64", Usage: "unbase64(text)", args: "t", result: TypeText, alias: true, call: fromBase64},
	{Name: "urlencode", Usage: "urlencode(value)", Doc: "Percent-encoded as one component of a URL (RFC 3986).", args: "v", result: TypeText, call: urlEncode},
	{Name: "sha256", Usage: "sha256(text)", Doc: "The SHA-256 of a text, in hex.", args: "t", result: TypeText, call: digest},
	{Name: "hmac", Usage: `hmac(key, text[, algorithm])`, Doc: "The HMAC of a text, in hex, with sha256 (default), sha1, sha384 or sha512.", args: "tt?t", result: TypeText, call: keyedDigest},
	{Name: "uuid", Usage: "uuid()", Doc: "A UUID that is fixed per occurrence: the same when the step runs again.", result: TypeText, impure: true, call: uuid, prepare: uuidSite},
	{Name: "callback", Usage: `callback("name")`, Doc: "The URL that ends the `wait` of that name.", args: "t", result: TypeText, impure: true, call: callback},
}

// json writes a value as JSON text, charged before it is made.
func (c *call) json(v any) (string, error) {
	n, err := c.m.jsonSize(c.site, v, 0)
	if err != nil {
		return "", err
	}
	if err := c.making(2 * n); err != nil {
		return "", err
	}
	return string(document.AppendJSON(make([]byte, 0, n), v)), nil
}

// jsonSize is about how long a value's JSON text is. A value may hold another
// many times over, so this takes steps for each time.
func (m *machine) jsonSize(s *site, v any, depth int) (int, error) {
	if depth > maxNesting {
		return 0, limitError("the value is nested deeper than 512 levels")
	}
	n := 2
	switch v := v.(type) {
	case string:
		return len(v) + len(v)/8 + 2, nil
	case document.Number:
		return len(v), nil
	case document.Raw:
		return len(v), nil
	case []any:
		if err := m.spend(s, int64(len(v))>>2+1); err != nil {
			return 0, err
		}
		for _, e := range v {
			size, err := m.jsonSize(s, e, depth+1)
			if err != nil {
				return 0, err
			}
			n += size + 1
		}
		return n, nil
	case *document.Object:
		if err := m.spend(s, int64(v.Len())>>2+1); err != nil {
			return 0, err
		}
		for i := range v.Len() {
			k, e := v.At(i)
			size, err := m.jsonSize(s, e, depth+1)
			if err != nil {
				return 0, err
			}
			n += len(k) + size + 4
		}
		return n, nil
	}
	return 5, nil
}

func toJSON(c *call) (any, error) { return c.json(c.args[0]) }

func jsonEither(c *call) (any, error) {
	text, ok := c.args[0].(string)
	if !ok {
		if t := TypeOf(c.args[0]); t != TypeList && t != TypeObject {
			return nil, c.fail("json(…) reads a text, or writes a list or an object, not %s; tojson(…) writes anything", article(t))
		}
		return c.json(c.args[0])
	}
	if err := c.making(len(text)); err != nil {
		return nil, err
	}
	b := []byte(text)
	if err := convert.CheckJSON(b); err != nil {
		return nil, c.unreadable("JSON", err)
	}
	return document.Parse(text), nil
}

// unreadable tells where a text is not what it should be, but not what stands there.
func (c *call) unreadable(what string, err error) error {
	if e, ok := err.(*convert.SyntaxError); ok && e.Line > 0 {
		return c.fail("the text is not valid %s at line %d, column %d", what, e.Line, e.Col)
	}
	return c.fail("the text is not valid %s", what)
}

func fromXML(c *call) (any, error) {
	text := c.text(0)
	if err := c.making(24 * len(text)); err != nil {
		return nil, err
	}
	out, err := convert.XMLToJSON([]byte(text), nil)
	if err != nil {
		return nil, c.unreadable("XML", err)
	}
	return document.Parse(string(out)), nil
}

func fromCSV(c *call) (any, error) {
	text, header, delimiter := c.text(0), true, ','
	if c.has(1) {
		header = c.args[1].(bool)
	}
	if c.has(2) {
		var n int
		if delimiter, n = utf8.DecodeRuneInString(c.text(2)); n != len(c.text(2)) || n == 0 {
			return nil, c.fail("a delimiter is one character")
		}
	}
	// The names of the columns are repeated in each row.
	size := 4 * len(text)
	if head, rest, ok := strings.Cut(text, "\n"); ok && header {
		size += (len(head) + 4) * (1 + strings.Count(rest, "\n"))
	}
	if err := c.making(size); err != nil {
		return nil, err
	}
	out, err := convert.CSVToJSON([]byte(text), header, delimiter)
	if err != nil {
		return nil, c.unreadable("CSV", err)
	}
	return document.Parse(string(out)), nil
}

func toBase64(c *call) (any, error) {
	text := c.text(0)
	if err := c.making(2 * len(text)); err != nil {
		return nil, err
	}
	return base64.StdEncoding.EncodeToString([]byte(text)), nil
}

func fromBase64(c *call) (any, error) {
	text := c.text(0)
	if err := c.making(3 * len(text)); err != nil {
		return nil, err
	}
	text = strings.TrimRight(strings.NewReplacer("-", "+", "_", "/", "\n", "", "\r", "").Replace(text), "=")
	out, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return nil, c.fail("the text is not Base64")
	}
	if !utf8.Valid(out) {
		return nil, c.fail("what the Base64 stands for is not text (UTF-8)")
	}
	return string(out), nil
}

func urlEncode(c *call) (any, error) {
	text, err := Text(c.args[0])
	if err != nil {
		return nil, err
	}
	if err := c.making(3 * len(text)); err != nil {
		return nil, err
	}
	return string(appendEscaped(nil, text)), nil
}

const upperHex = "0123456789ABCDEF"

// appendEscaped percent-encodes all but the unreserved characters of RFC 3986.
func appendEscaped(dst []byte, s string) []byte {
	for i := range len(s) {
		switch b := s[i]; {
		case b|0x20 >= 'a' && b|0x20 <= 'z', b >= '0' && b <= '9', b == '-', b == '.', b == '_', b == '~':
			dst = append(dst, b)
		default:
			dst = append(dst, '%', upperHex[b>>4], upperHex[b&15])
		}
	}
	return dst
}

func digest(c *call) (any, error) {
	if err := c.hashing(len(c.text(0))); err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(c.text(0)))
	return hex.EncodeToString(sum[:]), nil
}

func (c *call) hashing(n int) error {
	if err := c.m.spend(c.site, int64(n)>>5+4); err != nil {
		return err
	}
	return c.m.alloc(c.site, int64(n)+256)
}

func keyedDigest(c *call) (any, error) {
	if err := c.hashing(len(c.text(0)) + len(c.text(1))); err != nil {
		return nil, err
	}
	var algorithm func() hash.Hash
	switch c.text(2) {
	case "", "sha256":
		algorithm = sha256.New
	case "sha1":
		algorithm = sha1.New
	case "sha384":
		algorithm = sha512.New384
	case "sha512":
		algorithm = sha512.New
	default:
		return nil, c.fail("the algorithm must be sha256, sha1, sha384 or sha512")
	}
	h := hmac.New(algorithm, []byte(c.text(0)))
	h.Write([]byte(c.text(1)))
	return hex.EncodeToString(h.Sum(nil)), nil
}

// uuidSite names the occurrence of a uuid() in the files.
func uuidSite(c *compiler, _ []*node) any {
	c.uuids++
	return c.src.start.String() + "#" + string(exact.Int(int64(c.uuids)).Text())
}

func uuid(c *call) (any, error) {
	if c.m.env.UUID == nil {
		return nil, c.fail("uuid() cannot be used here")
	}
	site := c.made.(string)
	if c.m.uuids == nil {
		c.m.uuids = map[string]int{}
	}
	n := c.m.uuids[site]
	c.m.uuids[site] = n + 1
	return c.m.env.UUID(site, n), c.making(36)
}

func callback(c *call) (any, error) {
	if c.m.env.Callback == nil {
		return nil, c.fail("callback(…) cannot be used here")
	}
	url, err := c.m.env.Callback(c.text(0))
	if err != nil {
		return nil, err
	}
	return url, c.making(len(url))
}
