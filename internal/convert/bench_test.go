package convert

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/tidwall/gjson"
)

// order is the 1 KiB order of the project's benchmarks.
const order = `{"order_id":4711,"created":"2026-03-01T12:30:15Z","customer":{"id":77,"name":"Ada Lovelace","email":"ada@shop.example","address":{"street":"Long Street 12","city":"London","zip":"02134","country":"GB"}},"currency":"EUR","total":1249.90,"lines":[{"sku":"A-100","name":"Keyboard, mechanical","qty":2,"price":89.95,"tax":19},{"sku":"A-200","name":"Mouse, \"silent\"","qty":1,"price":49.00,"tax":19},{"sku":"B-300","name":"Monitor 27 inches","qty":3,"price":299.00,"tax":19},{"sku":"C-400","name":"Cable USB-C 2 m","qty":5,"price":12.80,"tax":19},{"sku":"D-500","name":"Desk lamp","qty":1,"price":60.00,"tax":7}],"shipping":{"method":"express","tracking":null,"insured":true},"notes":"Please ring twice. The door is on the left side of the building, behind the big oak tree.","tags":["new","priority","web","b2c"],"source":{"channel":"web","campaign":"spring","referrer":"https://shop.example/landing?utm=1"}}`

func BenchmarkCheckJSON(b *testing.B) {
	text := []byte(order)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if err := CheckJSON(text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBaselineGjsonValid(b *testing.B) {
	text := []byte(order)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		gjson.ValidBytes(text)
	}
}

func BenchmarkBaselineJSONValid(b *testing.B) {
	text := []byte(order)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		json.Valid(text)
	}
}

func BenchmarkXMLToJSON(b *testing.B) {
	text, err := JSONToXML(context.Background(), order, "order", nil)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := XMLToJSON(context.Background(), text, nil); err != nil {
			b.Fatal(err)
		}
	}
}
