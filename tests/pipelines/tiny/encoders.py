"""A text encoder and a tokenizer of any kind: deterministic, tiny, with the outputs that pipelines read."""

import torch
from torch import Tensor, nn

WIDTH, VOCABULARY, NUM_STATES = 32, 64, 49
TEMPLATE_LENGTH = 160  # of a chat; pipelines cut system prompts of up to 130 tokens off


class Output(tuple):
    """An encoder's output, by position and by name.

    Attributes:
        last_hidden_state: (N, L, WIDTH).
        hidden_states: the same for each of NUM_STATES layers.
        logits, predicted_depth: the same as last_hidden_state.
        text_embeds, pooler_output, image_embeds: (N, WIDTH).
    """

    def __new__(cls, states: Tensor) -> "Output":
        self = super().__new__(cls, (states, states.mean(1), (states,) * NUM_STATES))
        self.last_hidden_state, self.hidden_states = states, (states,) * NUM_STATES
        self.text_embeds = self.pooler_output = self.image_embeds = states.mean(1)
        self.logits = self.predicted_depth = states
        return self

    def __getitem__(self, key: object) -> object:
        return getattr(self, key) if isinstance(key, str) else super().__getitem__(key)


class Settings(dict):
    """A configuration that has each setting: those that are not given are WIDTH."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.get(name, Settings() if name.endswith("_config") else WIDTH)


class AnyEncoder(nn.Module):
    """A text or vision encoder: each token is embedded by itself; an image is two tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.config = Settings(pad_token_id=0, eos_token_id=1, use_attention_mask=True, output_hidden_states=True)
        torch.manual_seed(7)
        self.table = nn.Embedding(VOCABULARY, WIDTH)
        self.layers, self.norm = nn.ModuleList([nn.Identity()]), nn.Identity()  # some pipelines hook these

    @property
    def dtype(self) -> torch.dtype:
        return self.table.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.table.weight.device

    @property
    def model(self) -> nn.Module:
        return self

    language_model = text_model = encoder = vision_model = vision_tower = model

    def forward(self, input_ids: Tensor | None = None, *_: object, **inputs: object) -> Output:
        tokens = input_ids if input_ids is not None else inputs.get("pixel_values")
        if tokens.is_floating_point():
            tokens = torch.zeros(len(tokens), 2, dtype=torch.long)
        return Output(self.norm(self.layers[0](self.table(tokens.long() % VOCABULARY))))

    def get_text_features(self, input_ids: Tensor, **_: object) -> Tensor:
        return self(input_ids).text_embeds

    def get_input_embeddings(self) -> nn.Module:
        return self.table


class PairEncoder(AnyEncoder):
    """An encoder that returns a pair, as Kandinsky 2.1's does: (N, WIDTH) and (N, L, WIDTH)."""

    def forward(self, *tokens: Tensor, **inputs: object) -> tuple[Tensor, Tensor]:
        output = super().forward(*tokens, **inputs)
        return output.text_embeds, output.last_hidden_state


class ExampleEncoder(AnyEncoder):
    """An encoder of images as PaintByExample's: it returns (N, 1, WIDTH) and its vector of no image."""

    def forward(self, *images: Tensor, **_: object) -> tuple[Tensor, Tensor]:
        states = super().forward(torch.zeros(len(images[0]), 1, dtype=torch.long)).last_hidden_state
        return states, self.table.weight[1:2, None]


class Tokens(dict):
    """Token ids and their mask, by key and by name."""

    def __getattr__(self, name: str) -> object:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def to(self, *_: object, **__: object) -> "Tokens":
        return self


class AnyTokenizer:
    """A tokenizer, a chat template and a processor: a letter is a token."""

    model_max_length, pad_token_id, eos_token_id, bos_token_id, unk_token_id = 16, 0, 1, 2, 3
    pad_token = eos_token = bos_token = unk_token = image_token = "_"
    image_token_id, added_tokens_encoder = 5, {}
    padding_side, vocab_size, chat_template = "right", VOCABULARY, "chat"

    @property
    def tokenizer(self) -> "AnyTokenizer":
        return self

    def __call__(self, text: object = None, *_: object, max_length: int | None = None, **more: object) -> Tokens:
        texts = more.get("texts") or text
        texts = [texts] if isinstance(texts, str) else list(texts)
        if texts and isinstance(texts[0], list):
            texts = [str(each) for each in texts]
        longest = max([1, *(len(str(each)) for each in texts)])
        length = max_length or longest
        length = min(length, 512) if more.get("padding") == "max_length" else min(length, longest)
        ids = torch.zeros(len(texts), length, dtype=torch.long)
        for row, each in zip(ids, texts, strict=True):
            letters = [4 + ord(letter) % (VOCABULARY - 4) for letter in str(each)[:length]]
            row[: len(letters)] = torch.tensor(letters, dtype=torch.long)
        mask = (ids > 0).long()
        mask[:, 0] = 1
        if more.get("return_tensors") is None:
            ids, mask = (ids[0], mask[0]) if isinstance(text, str) else (ids, mask)
            return Tokens(input_ids=ids.tolist(), attention_mask=mask.tolist())
        tokens = Tokens(input_ids=ids, attention_mask=mask, length=mask.sum(1))
        if more.get("images") is not None:
            tokens |= {"pixel_values": torch.zeros(1, 3, 8, 8), "image_grid_thw": torch.ones(1, 3, dtype=torch.long)}
        return tokens

    def apply_chat_template(self, chat: object, tokenize: bool = True, **more: object) -> object:
        chats = chat if isinstance(chat[0], list) else [chat]
        texts = [str(each).ljust(TEMPLATE_LENGTH, ".")[:TEMPLATE_LENGTH] for each in chats]
        if not tokenize:
            return texts[0] if chats is not chat else texts
        is_one = chats is not chat and more.get("return_tensors") is None
        tokens = self(texts[0] if is_one else texts, return_tensors=more.get("return_tensors"))
        return tokens if more.get("return_dict", True) else tokens["input_ids"]

    def pad(self, tokens: dict, max_length: int | None = None, **more: object) -> Tokens:
        if more.get("padding") != "max_length":
            return Tokens(tokens)
        ids = torch.tensor([(each + [0] * max_length)[:max_length] for each in tokens["input_ids"]])
        return Tokens(input_ids=ids, attention_mask=(ids > 0).long())

    def encode(self, text: str, **_: object) -> list[int]:
        return self([text])["input_ids"][0]

    def tokenize(self, text: str) -> list[str]:
        return list(text)

    def decode(self, *_: object, **__: object) -> str:
        return ""

    def batch_decode(self, ids: object, **__: object) -> list[str]:
        return [""] * len(ids)

    def convert_tokens_to_ids(self, token: object) -> object:
        return 5 if isinstance(token, str) else [5] * len(token)


class AnyProcessor:
    """An image processor: images become (N, 3, 8, 8) tensors of zeros."""

    size, crop_size = {"height": 8, "width": 8, "shortest_edge": 8}, {"height": 8, "width": 8}
    image_mean = image_std = (0.5, 0.5, 0.5)

    def __call__(self, images: object = None, *_: object, **__: object) -> Tokens:
        return Tokens(pixel_values=torch.zeros(len(images) if isinstance(images, list) else 1, 3, 8, 8))

    preprocess = __call__


class AnyChecker:
    """A safety checker that lets everything pass."""

    def to(self, *_: object, **__: object) -> "AnyChecker":
        return self

    def check_text_safety(self, *_: object) -> bool:
        return True

    def check_video_safety(self, video: object) -> object:
        return video
