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

	"valence/internal/budget"
	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/expression/exact"
)

// encodingFunctions convert between text and values, and hash text.
var encodingFunctions = []*Function{
	{
		Name: "json", Usage: "json(value)",
		Doc:     "The value of JSON text; for a list or an object, its JSON text.",
		Example: `json("{\"a\": [1, 2]}").a`,
		args:    "v", call: jsonEither,
	},
	{
		Name: "tojson", Usage: "tojson(value)",
		Doc:     "Any value as JSON text.",
		Example: `tojson({"a": 1})`,
		args:    "*", result: TypeText, call: toJSON,
	},
	{Name: "toJSON", Usage: "tojson(value)", args: "*", result: TypeText, alias: true, call: toJSON},
	{Name: "fromJSON", Usage: "json(text)", args: "t", alias: true, call: jsonEither},
	{
		Name: "xml", Usage: "xml(text)",
		Doc:     "The value of XML text: an object with the root element as its key, attributes as @name and text as #text.",
		Example: `xml("<order id='7'><sku>A</sku></order>").order`,
		args:    "t", result: TypeObject, call: fromXML,
	},
	{
		Name: "csv", Usage: "csv(text[, header[, delimiter]])",
		Doc:     "A list of objects with the keys of the header row. If header is false, a list of lists.",
		Example: `csv("sku;qty\nA;2", true, ";")`,
		args:    "t?bt", result: TypeList, call: fromCSV,
	},
	{
		Name: "base64", Usage: "base64(text)",
		Doc:     "The text, or the content of a file, in Base64 (RFC 4648).",
		Example: `base64("Ada")`,
		args:    "d", result: TypeText, call: toBase64,
	},
	{Name: "toBase64", Usage: "base64(text)", args: "d", result: TypeText, alias: true, call: toBase64},
	{
		Name: "unbase64", Usage: "unbase64(text)",
		Doc:     "The text that was encoded in Base64: standard or URL alphabet, with or without padding. Bytes that are not UTF-8 text become a file, `{raw, encoding}`, which can be written, sent and returned.",
		Example: `unbase64("QWRh")`,
		args:    "t", call: fromBase64,
	},
	{Name: "fromBase64", Usage: "unbase64(text)", args: "t", alias: true, call: fromBase64},
	{
		Name: "urlencode", Usage: "urlencode(value)",
		Doc:     "The value percent-encoded as one component of a URL (RFC 3986).",
		Example: `urlencode("a b/c")`,
		args:    "v", result: TypeText, call: urlEncode,
	},
	{
		Name: "sha256", Usage: "sha256(text)",
		Doc:     "The SHA-256 of text, or of the content of a file, in hexadecimal.",
		Example: `sha256("Ada")`,
		args:    "d", result: TypeText, call: digest,
	},
	{
		Name: "hmac", Usage: `hmac(key, text[, algorithm])`,
		Doc:     "The HMAC of text, or of the content of a file, in hexadecimal. The algorithm is sha256 (default), sha1, sha384 or sha512. The key may be a secret.",
		Example: `hmac(secret.WEBHOOK_KEY, "Ada", "sha1")`,
		args:    "td?t", result: TypeText, call: keyedDigest,
	},
	{
		Name: "uuid", Usage: "uuid()",
		Doc:     "A UUID that is fixed per occurrence: a repeated step gets the same one.",
		Example: `len(uuid())`,
		result:  TypeText, impure: true, call: uuid, prepare: uuidSite,
	},
	{
		Name: "callback", Usage: `callback("name")`,
		Doc:     "A URL that ends the `wait` of this name.",
		Example: `callback("approval")`,
		args:    "t", result: TypeText, impure: true, call: callback,
	},
}

// json returns the JSON text of a value, charged before it is allocated.
func (c *call) json(v any) (string, error) {
	n, err := c.m.jsonSize(c.site, v, 0)
	if err != nil {
		return "", err
	}
	if err := c.allocText(2 * n); err != nil {
		return "", err
	}
	return string(document.AppendJSON(make([]byte, 0, n), v)), nil
}

// jsonSize estimates the length of a value's JSON text. A value may contain
// another one many times, so every visit costs steps.
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
			return nil, c.fail("json(…) parses text or encodes a list or an object, not %s; use tojson(…) to encode any value", article(t))
		}
		return c.json(c.args[0])
	}
	if err := c.allocText(len(text)); err != nil {
		return nil, err
	}
	text = strings.TrimPrefix(text, "\ufeff")
	b := []byte(text)
	if err := convert.CheckJSON(b); err != nil {
		return nil, c.unreadable("JSON", err)
	}
	return document.Parse(text), nil
}

// unreadable returns an error with the position of a syntax error but without
// the text there, which may be secret.
func (c *call) unreadable(what string, err error) error {
	if f := budget.Failure(err); f != nil {
		return c.site.failure(f.Code, f.Message, f)
	}
	if e, ok := err.(*convert.SyntaxError); ok && e.Line > 0 {
		return c.fail("the text is not valid %s at line %d, column %d", what, e.Line, e.Col)
	}
	return c.fail("the text is not valid %s", what)
}

func fromXML(c *call) (any, error) {
	text := c.text(0)
	if err := c.allocText(24 * len(text)); err != nil {
		return nil, err
	}
	out, err := convert.XMLToJSON(c.m.env.Ctx, []byte(text), nil)
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
			return nil, c.fail("the delimiter must be one character")
		}
	}
	// The column names are repeated in each row.
	size := 4 * len(text)
	if head := strings.IndexAny(text, "\r\n"); head >= 0 && header {
		size += (head + 4) * (1 + strings.Count(text[head+1:], "\n") + strings.Count(text[head+1:], "\r"))
	}
	if err := c.allocText(size); err != nil {
		return nil, err
	}
	out, err := convert.CSVToJSON(c.m.env.Ctx, []byte(text), header, delimiter)
	if err != nil {
		return nil, c.unreadable("CSV", err)
	}
	return document.Parse(string(out)), nil
}

func toBase64(c *call) (any, error) {
	content, err := c.content(0)
	if err == nil {
		err = c.allocText(2 * len(content))
	}
	if err != nil {
		return nil, err
	}
	return base64.StdEncoding.EncodeToString(content), nil
}

func fromBase64(c *call) (any, error) {
	text := c.text(0)
	if err := c.allocText(3 * len(text)); err != nil {
		return nil, err
	}
	text = strings.TrimRight(strings.NewReplacer("-", "+", "_", "/", "\n", "", "\r", "").Replace(text), "=")
	out, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return nil, c.fail("the text is not valid Base64")
	}
	if utf8.Valid(out) {
		return string(out), nil
	}
	file := &document.Object{}
	file.Set("raw", base64.StdEncoding.EncodeToString(out))
	file.Set("encoding", "base64")
	return file, nil
}

func urlEncode(c *call) (any, error) {
	text, err := Text(c.args[0])
	if err != nil {
		return nil, err
	}
	if err := c.allocText(3 * len(text)); err != nil {
		return nil, err
	}
	return string(appendEscaped(nil, text)), nil
}

const upperHex = "0123456789ABCDEF"

// appendEscaped percent-encodes everything except the unreserved characters of
// RFC 3986.
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
	content, err := c.content(0)
	if err == nil {
		err = c.hashing(len(content))
	}
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:]), nil
}

func (c *call) hashing(n int) error {
	if err := c.m.spend(c.site, int64(n)>>5+4); err != nil {
		return err
	}
	return c.m.alloc(c.site, int64(n)+256)
}

func keyedDigest(c *call) (any, error) {
	content, err := c.content(1)
	if err == nil {
		err = c.hashing(len(c.text(0)) + len(content))
	}
	if err != nil {
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
	h.Write(content)
	return hex.EncodeToString(h.Sum(nil)), nil
}

// uuidSite returns the position and number of a uuid() call.
func uuidSite(c *compiler, _ []*node) any {
	c.uuids++
	return c.src.start.String() + "#" + string(exact.Int(int64(c.uuids)).Text())
}

func uuid(c *call) (any, error) {
	if c.m.env.UUID == nil {
		return nil, c.fail("uuid() is not available here")
	}
	site := c.prepared.(string)
	if c.m.uuids == nil {
		c.m.uuids = map[string]int{}
	}
	n := c.m.uuids[site]
	c.m.uuids[site] = n + 1
	return c.m.env.UUID(site, n), c.allocText(36)
}

func callback(c *call) (any, error) {
	if c.m.env.Callback == nil {
		return nil, c.fail("callback(…) is not available here")
	}
	url, err := c.m.env.Callback(c.text(0))
	if err != nil {
		return nil, err
	}
	return url, c.allocText(len(url))
}
