"""The drop-in for diffusers pipelines, and its price: what of diffusers it relies on that is not documented there.

`tests/pipelines/test_price.py` has a test of each line by its number, so an upgrade that breaks one says which.

1. Pipelines keep their denoiser in `unet` or `transformer`, and call it with `timestep`, `timesteps` or `t`.
2. `isinstance` and `save_pretrained` ask a component for `__class__`, and `model_index.json` for `__module__`.
3. Schedulers have `set_timesteps`, `step(model_output, timestep, ...)`, `timesteps` and `order`; an attribute of the
   instance is called in the place of the method.
4. PNDM has `prk_timesteps` and the setting `skip_prk_steps`; schedulers that are begun late may say `begin_index`.
5. Pipelines set `_num_timesteps` to the number of their calls after `set_timesteps`.
6. Pipelines that read `self.guidance_scale` in each step keep it in `_guidance_scale`.
7. accelerate and diffusers keep their hooks in `_hf_hook`, `_old_forward` and `_diffusers_hook` of a module.
8. `torch.compile` keeps its module in `_orig_mod`.
9. Caches of diffusers are reset by `_reset_stateful_cache`.
10. An IP-Adapter sets `encoder_hid_dim_type` of a UNet's configuration, `encoder_hid_proj` or `image_proj` of others.
11. The sources of the pipelines say which keys of a configuration they read, as `self.unet.config.KEY`.
12. Pipelines run in methods that are called `__call__` and `invert`.
"""
