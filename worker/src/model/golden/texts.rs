//! The golden set: short texts of many kinds. The first ones are compared on every model, so they are short and differ much. The set
//! is part of what a figure in a manifest means; adding to its end is harmless, changing it is not.

pub const TEXTS: [&str; 40] = [
    "harbour",
    "Who repairs old clocks?",
    "Das Wetter in Köln",
    "東京の地下鉄",
    "",
    "The ferry leaves at noon, unless the fog stays.",
    "how to grow tomatoes on a balcony",
    "Error 0x80070057: the parameter is incorrect",
    "let total = items.iter().map(|item| item.price).sum();",
    "A vaccine teaches the immune system to recognise a virus before it meets one.",
    "best running shoes for flat feet under 100 dollars",
    "Сколько стоит билет до Москвы?",
    "متى تفتح المكتبة؟",
    "नदी के किनारे एक गाँव",
    "한국의 가을 날씨",
    "北京的博物馆几点开门",
    "¿Dónde está la estación de tren?",
    "La tarte aux pommes de ma grand-mère était déjà froide.",
    "Il contratto scade il 31 dicembre 2027.",
    "Η θάλασσα ήταν ήρεμη το πρωί",
    "SELECT name, price FROM products WHERE stock > 0 ORDER BY price DESC LIMIT 10",
    "GET /v1/orders?status=open HTTP/1.1",
    "C-reactive protein 48 mg/L, leukocytes 13.2",
    "The tenant shall return the keys on the last day of the lease.",
    "quarterly revenue rose 12.5 % to 3.4 billion",
    "In 1969 two people walked on the Moon while a third one circled above them.",
    "please cancel my subscription and refund the last payment",
    "noise-cancelling headphones, black, over-ear, battery 30 h",
    "Basalt is what cooled lava of the ocean floor turns into.",
    "I loved the first half; the second half could have been an email.",
    "🙂🚲🌧️",
    "MIXED case Words AND some_snake_case plus camelCase",
    "a b c d e f g h",
    "...",
    "2 + 2 = 4, 7 * 6 = 42, 10 / 3 = 3.333",
    "user.name+tag@example.org https://example.org/a/b?c=d#e",
    "The committee, which had met twice before without reaching an agreement, adjourned again late in the evening, and its \
     chair told the reporters who had waited in the corridor that nobody should expect a decision before the summer.",
    "Sourdough needs flour, water, salt and patience. Feed the starter in the evening, mix the dough in the morning, fold it every \
     half hour until noon, shape it, let it rest in the cold overnight, and bake it in a pot with the lid on for twenty minutes and \
     without the lid for twenty more.",
    "A container that is out of memory is killed by the kernel; one that is out of CPU only waits. Set the limit of the first with \
     care and that of the second with doubt. Watch both for a week before you change either, write down what you saw, and keep \
     the numbers beside the manifest, where whoever comes after you will look for them first.",
    "supercalifragilistic antidisestablishmentarianism floccinaucinihilipilification",
];
