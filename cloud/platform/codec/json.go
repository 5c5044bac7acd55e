package codec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

// decodeJSON decodes one JSON value. Numbers and booleans become text, the items
// of a list become elements of the same name, and null is omitted.
func decodeJSON(body []byte) (*Node, error) {
	d := jsonReader{Decoder: json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(body, []byte("\ufeff"))))}
	d.UseNumber()
	root := &Node{}
	t, err := d.Token()
	if err != nil {
		return nil, fmt.Errorf("the body is not JSON: %w", err)
	}
	if t != json.Delim('{') {
		return nil, errors.New("the body is not a JSON object")
	}
	if err := d.object(root, 0); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("the body contains more than one JSON value")
	}
	return root, nil
}

type jsonReader struct {
	*json.Decoder
	nodes int
}

func (d *jsonReader) value(into *Node, name string, t json.Token, depth int) error {
	if d.nodes++; d.nodes > MaxNodes || depth > MaxDepth {
		return ErrTooBig
	}
	switch v := t.(type) {
	case nil:
		return nil
	case json.Delim:
		if v == '[' {
			return d.list(into, name, depth)
		}
		kid := &Node{}
		into.Add(name, kid)
		return d.object(kid, depth)
	case string:
		into.Add(name, &Node{Text: v})
	case json.Number:
		into.Add(name, &Node{Text: v.String()})
	case bool:
		into.Add(name, &Node{Text: strconv.FormatBool(v)})
	}
	return nil
}

func (d *jsonReader) list(into *Node, name string, depth int) error {
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return fmt.Errorf("the body is not JSON: %w", err)
		}
		if err := d.value(into, name, t, depth+1); err != nil {
			return err
		}
	}
	return d.end()
}

func (d *jsonReader) object(into *Node, depth int) error {
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return fmt.Errorf("the body is not JSON: %w", err)
		}
		t, err := d.Token()
		if err != nil {
			return fmt.Errorf("the body is not JSON: %w", err)
		}
		name, _ := key.(string)
		if err := d.value(into, name, t, depth+1); err != nil {
			return err
		}
	}
	return d.end()
}

func (d *jsonReader) end() error {
	if _, err := d.Token(); err != nil {
		return fmt.Errorf("the body is not JSON: %w", err)
	}
	return nil
}

// encodeJSON encodes an object with its @type first.
func encodeJSON(o *Object) []byte {
	var b bytes.Buffer
	writeJSON(&b, o)
	b.WriteByte('\n')
	return b.Bytes()
}

func writeJSON(b *bytes.Buffer, o *Object) {
	b.WriteByte('{')
	comma := false
	key := func(name string) {
		if comma {
			b.WriteByte(',')
		}
		comma = true
		b.Write(quote(name))
		b.WriteByte(':')
	}
	if o.Type != "" {
		key("@type")
		b.Write(quote(o.Type))
	}
	for _, f := range o.Fields {
		if f.omitted() {
			continue
		}
		key(f.Name)
		writeJSONValue(b, f.Value)
	}
	b.WriteByte('}')
}

func writeJSONValue(b *bytes.Buffer, v any) {
	switch v := v.(type) {
	case *Object:
		writeJSON(b, v)
	case []*Object:
		b.WriteByte('[')
		for i, o := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			writeJSON(b, o)
		}
		b.WriteByte(']')
	case []string:
		b.WriteByte('[')
		for i, s := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			b.Write(quote(s))
		}
		b.WriteByte(']')
	case Long:
		b.WriteString(`["Long",` + strconv.FormatInt(int64(v), 10) + `]`)
	case bool, int:
		b.WriteString(text(v))
	case string, time.Time, Millis:
		b.Write(quote(text(v)))
	default:
		b.WriteString("null")
	}
}

func quote(s string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // encoding a string cannot fail
	return bytes.TrimRight(b.Bytes(), "\n")
}
